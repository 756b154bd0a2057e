"""The page that a browser is shown while a slow sandbox wakes: it goes on by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pytest

from e2e.gateways import Gateway, start_local

from .browser import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.programs import Programs

    from .browser import Browser
    from .sleepers import Sleepers

#: Takes its time before it listens, as servers do that load much: until a file is there.
SLOW: Final = """
import http.server, os, sys, time
while not os.path.exists(sys.argv[2]):
    time.sleep(0.05)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<!doctype html><title>The sandbox</title><h1>Ready</h1>" + self.path.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""
THEME: Final = (
    "<!doctype html><title>$title</title><h1>Acme: $state</h1><p>$text</p><small>$reason</small>"
)


@pytest.fixture(scope="session", params=["plain", "themed"])
def local_mode(
    shared_programs: Programs,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Gateway]:
    """A gateway that soon shows its page, its own or an operator's."""
    home = tmp_path_factory.mktemp("local")
    settings = {"host_suffixes": SUFFIX, "waiting_page_after": "300ms"}
    if request.param == "themed":
        theme = home / "page.html"
        theme.write_text(THEME)
        settings["page_template_file"] = str(theme)
    gateway = start_local(shared_programs, home, **settings)
    yield gateway
    assert gateway.program.end() == 0


def is_themed(gateway: Gateway) -> bool:
    return (gateway.program.home / "page.html").exists()


def test_a_browser_sees_that_it_waits_and_then_the_sandbox_without_doing_anything(
    sleepers: Sleepers, browser: Browser, local_mode: Gateway, tmp_path: Path
) -> None:
    loaded = tmp_path / "loaded"
    loaded.touch()
    sandbox = sleepers.make("slow", sys.executable, "-c", SLOW, "PORT", str(loaded), way="stop")
    loaded.unlink()
    page = f"{sandbox.site}/some/page?with=query"
    browser.open(page)
    assert browser.title == "Waking up"
    browser.picture(tmp_path / "waiting.png")
    heading = browser.becomes("document.querySelector('h1')?.textContent")
    assert heading == ("Acme: waiting" if is_themed(local_mode) else "Waking up")
    browser.shows("goes on by itself", "p")
    loaded.touch()
    browser.shows("Ready", "h1")
    browser.shows("/some/page?with=query")
    assert browser.url == page
    assert browser.evaluate("history.length") <= 2, "the reloads are not in the way back"
    assert sandbox.writes == 3, "it was woken once"


def test_a_browser_that_comes_to_what_cannot_wake_is_told_so_and_left_alone(
    sleepers: Sleepers, browser: Browser, tmp_path: Path
) -> None:
    sandbox = sleepers.make("slow", sys.executable, "-c", SLOW, "PORT", str(tmp_path), way="stop")
    sandbox.kubectl.patch(sandbox.name, wakeOnTraffic={"enabled": False})
    browser.open(f"{sandbox.site}/")
    assert browser.title == "Sandbox asleep"
    assert browser.text("small") is not None
    assert "sandbox_not_wakeable" in (browser.text("small") or "")
