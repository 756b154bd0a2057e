"""What is remembered on disk about running processes, for the start after a crash."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.local.runtime.procfs import ProcessId

_log = logging.getLogger(__name__)


class _UnreadableRecordError(Exception):
    """The file is not a record."""


@dataclass(frozen=True, slots=True)
class Record:
    """The first process of a sandbox, as precisely as a machine can name a process."""

    uid: str
    leader: ProcessId
    boot_id: str


class RecordStore:
    """One file a sandbox; a file is complete or not there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, record: Record) -> None:
        """Write a record through to the disk; OSError if that fails."""
        target = self._path(record.uid)
        draft = target.with_suffix(".tmp")
        with draft.open("w") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        _sync_directory(self._directory)

    def remove(self, uid: str) -> None:
        """Forget a sandbox. Not synced: a record of a process that is gone does no harm."""
        self._path(uid).unlink(missing_ok=True)

    def load(self) -> list[Record]:
        """Read all records; one that can not be read is reported and left out."""
        return list(self._readable())

    def clear(self) -> None:
        """Forget all sandboxes."""
        for path in self._directory.iterdir():
            path.unlink()

    def _readable(self) -> Iterator[Record]:
        for path in sorted(self._directory.glob("*.json")):
            try:
                yield _parse(path.read_bytes())
            except _UnreadableRecordError:
                _log.warning("record %s of a local process can not be read", path.name)

    def _path(self, uid: str) -> Path:
        return self._directory / f"{uid}.json"


def _parse(content: bytes) -> Record:
    try:
        fields = json.loads(content)
        leader = ProcessId(int(fields["leader"]["pid"]), int(fields["leader"]["start_time"]))
        return Record(str(fields["uid"]), leader, str(fields["boot_id"]))
    except (ValueError, KeyError, TypeError) as error:
        raise _UnreadableRecordError from error


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
