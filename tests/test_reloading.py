"""Files that change under a running gateway are read again, however they are replaced."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import pytest

from gateway.reloading import Reloader
from gateway.telemetry.instruments import PREFIX, Instruments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Reader:
    """Reads a file into `read`, and fails on one that says so."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.read: list[str] = []

    def __call__(self) -> None:
        content = self.file.read_text()
        if content.startswith("bad"):
            raise ValueError("the file is bad")
        self.read.append(content)


def counts(instruments: Instruments) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in instruments.collect()
        for sample in family.samples
        if sample.name == PREFIX + "reloads_total"
    }


def overwrite(file: Path, content: str) -> None:
    file.write_text(content)


def rename_over(file: Path, content: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(content)
    new.rename(file)


def swap_the_link_behind(file: Path, content: str) -> None:
    """Do as the kubelet does with a Secret: file → ..data/file, ..data → ..when."""
    folder = file.parent
    when = folder / f"..{len(list(folder.iterdir()))}"
    when.mkdir()
    (when / file.name).write_text(content)
    link = folder / "..data.new"
    link.symlink_to(when.name)
    link.rename(folder / "..data")
    if not file.is_symlink():
        file.unlink(missing_ok=True)
        file.symlink_to(f"..data/{file.name}")


@pytest.mark.parametrize("replace", [overwrite, rename_over, swap_the_link_behind])
def test_a_change_is_seen_once_however_it_is_made(
    tmp_path: Path, replace: Callable[[Path, str], None]
) -> None:
    file = tmp_path / "keys"
    replace(file, "one")
    instruments, reader = Instruments(), Reader(file)
    reloader = Reloader(instruments)
    reloader.watch("keys", [file], reader)
    reloader.look()
    assert reader.read == []
    replace(file, "other")
    reloader.look()
    reloader.look()
    assert reader.read == ["other"]
    assert counts(instruments) == {("keys", "loaded"): 1, ("keys", "failed"): 0}


def test_a_new_content_of_the_same_length_and_time_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one")
    before = file.stat()
    reader = Reader(file)
    reloader = Reloader(Instruments())
    reloader.watch("keys", [file], reader)
    rename_over(file, "two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    reloader.look()
    assert reader.read == ["two"]


def test_a_bad_content_is_told_once_and_a_good_one_after_it_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("one")
    instruments, reader = Instruments(), Reader(file)
    reloader = Reloader(instruments)
    reloader.watch("keys", [file], reader)
    for change in (lambda: file.write_text("bad one"), file.unlink):
        change()
        reloader.look()
        reloader.look()
    assert reader.read == []
    assert counts(instruments) == {("keys", "loaded"): 0, ("keys", "failed"): 2}
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 2
    assert told[0].__dict__["error"] == "ValueError: the file is bad"
    file.write_text("good")
    reloader.look()
    assert reader.read == ["good"]


def test_one_of_several_files_is_enough_and_a_bad_one_stops_no_other(tmp_path: Path) -> None:
    certificate, key, keys = (tmp_path / name for name in ("crt", "key", "keys"))
    for file in (certificate, key, keys):
        file.write_text("one")
    pair, other = Reader(certificate), Reader(keys)
    reloader = Reloader(Instruments())
    reloader.watch("tls", [certificate, key], pair)
    reloader.watch("keys", [keys], other)
    certificate.write_text("bad")
    keys.write_text("two")
    reloader.look()
    assert (pair.read, other.read) == ([], ["two"])
    certificate.write_text("three")
    reloader.look()
    key.write_text("four")
    reloader.look()
    assert pair.read == ["three", "three"]


async def test_it_looks_by_itself_until_it_is_cancelled(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one")
    reader = Reader(file)
    reloader = Reloader(Instruments(), period=0.001)
    reloader.watch("keys", [file], reader)
    task = asyncio.create_task(reloader.run())
    try:
        file.write_text("other")
        async with asyncio.timeout(5.0):
            while not reader.read:
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert reader.read == ["other"]


async def test_where_nothing_is_watched_it_ends_at_once() -> None:
    await asyncio.wait_for(Reloader(Instruments()).run(), 1.0)
