"""The program's own log: one line a record, at the chosen level, without secrets."""

from __future__ import annotations

import io
import json
import logging
import warnings
from typing import TYPE_CHECKING

import pytest

from gateway.telemetry.logs import LogConfig, configure

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was."""
    root, ours = logging.getLogger(), logging.getLogger("gateway")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def logged(level: int = logging.INFO, *, as_json: bool = True) -> io.StringIO:
    stream = io.StringIO()
    configure(LogConfig(level, as_json), stream)
    return stream


def test_a_record_is_one_json_object_with_its_own_fields() -> None:
    stream = logged()
    logging.getLogger("gateway.wake").info(
        "woke %s", "a\nb", extra={"sandbox": "team-a/box", "seconds": 1.5}
    )
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "logger": "gateway.wake",
        "message": "woke a\nb",
        "sandbox": "team-a/box",
        "seconds": 1.5,
    }


def test_a_text_line_cannot_be_forged_by_what_it_holds() -> None:
    stream = logged(as_json=False)
    logging.getLogger("gateway.wake").warning("a\nFORGED \x1b[31m é", extra={"sandbox": "x\r\ny"})
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r"WARNING gateway.wake: a\nFORGED \x1b[31m é sandbox=x\r\ny")


@pytest.mark.parametrize("as_json", [True, False])
def test_fields_that_are_named_like_secrets_are_hidden(as_json: bool) -> None:
    stream = logged(as_json=as_json)
    secrets = {"access_token": "hunter2", "Authorization": "hunter2", "cookie": "hunter2"}
    logging.getLogger("gateway.auth").info("refused", extra=secrets)
    assert "hunter2" not in stream.getvalue()
    assert "access_token" in stream.getvalue()


def test_libraries_never_speak_below_warning_since_they_log_whole_answers() -> None:
    stream = logged(logging.DEBUG)
    logging.getLogger("kubernetes_asyncio.client.rest").debug("response body: hunter2")
    logging.getLogger("gateway.cluster").debug("ours")
    logging.getLogger("aiohttp").warning("theirs")
    messages = [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert messages == ["ours", "theirs"]


def test_the_level_holds_for_ours_and_for_theirs() -> None:
    stream = logged(logging.ERROR)
    logging.getLogger("gateway").warning("ours")
    logging.getLogger("aiohttp").warning("theirs")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_goes_with_its_record(as_json: bool) -> None:
    stream = logged(as_json=as_json)
    try:
        raise LookupError("gone")
    except LookupError:
        logging.getLogger("gateway").exception("failed")
    assert "LookupError: gone" in stream.getvalue()
    if as_json:
        assert "Traceback" in json.loads(stream.getvalue())["exception"]


def test_a_second_configuration_replaces_the_first() -> None:
    first, second = logged(), logged()
    logging.getLogger("gateway").info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_warnings_of_python_are_logged_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        stream = logged()
        warnings.warn("old ways", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old ways" in json.loads(stream.getvalue())["message"]
