"""Node's clients, and Node's servers as sandboxes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from e2e.waiting import DEADLINE

from .servers import NODE, SOCKETIO, WS

if TYPE_CHECKING:
    from .sleepers import Sleeper, Sleepers


def node(program: str, **told: Any) -> dict[str, Any]:
    """Run a client and return what it tells that it saw."""
    done = subprocess.run(
        ["node", str(NODE / program), json.dumps(told)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_ws_talks_through_a_wake_to_ws(sleepers: Sleepers) -> None:
    sleeper = sleepers.make("ws", *WS)
    seen = node("ws_client.mjs", url=sleeper.websocket_url, headers=sleeper.headers)
    assert seen == {
        "cold": "true",
        "extensions": "",  # ws compresses only where its server wants to
        "sizes": [[4, False], [2, True], [200_000, False]],
        "pong": "alive",
        "close": [4001, "as asked"],
    }
    assert sleeper.writes == 3


@pytest.mark.parametrize("way", ["freeze", "stop"])
@pytest.mark.parametrize("scheme", ["headers", "host"])
def test_socket_io_polls_through_a_wake_and_goes_over_to_a_websocket(
    scheme: str, way: str, sleepers: Sleepers
) -> None:
    sleeper = sleepers.make("socketio", *SOCKETIO, way=way)
    seen = node("socketio_client.mjs", **named(sleeper, scheme))
    assert (seen["first"], seen["last"]) == ("polling", "websocket")
    assert seen["answers"] == [[True, "websocket"]] * 3
    assert seen["greeted"] == "welcome"
    assert seen["binary"] == [0, 255]
    assert seen["news"] == ["hear"]
    assert sleeper.writes == 3


@pytest.mark.parametrize(("client", "scheme"), [("fetch", "headers"), ("undici", "host")])
def test_fetch_streams_an_upload_into_a_wake(client: str, scheme: str, site: Sleeper) -> None:
    seen = node("fetch_client.mjs", client=client, **named(site, scheme))
    assert seen == {"cold": "true", "uploaded": True, "downloaded": 1_000_003}
    assert site.writes == 3


def named(sleeper: Sleeper, scheme: str) -> dict[str, Any]:
    """Return where a client goes and with which header fields, by one way of naming a sandbox."""
    if scheme == "host":
        return {"url": sleeper.site, "headers": {}}
    return {"url": sleeper.url, "headers": sleeper.headers}
