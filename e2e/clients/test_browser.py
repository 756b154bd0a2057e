"""A page in a browser: what woke its sandbox was answered, and all that a page does works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from selenium.webdriver.common.keys import Keys

from .servers import SITE

if TYPE_CHECKING:
    from .browser import Browser
    from .sleepers import Sleeper, Sleepers

#: What the style sheet says.
GREEN: Final = "rgb(0, 96, 0)"


def page_works(browser: Browser, host: str) -> None:
    """Use all that the page of a site has; `host` is how the browser came there."""
    browser.shows("A page in a sandbox", "h1")
    browser.shows(host, "#fetch")
    browser.shows("site: closed,open; script: open=to-scripts", "#cookies")
    browser.shows("0 welcome", "#events")
    browser.shows("hello", "#socket")
    assert browser.evaluate("getComputedStyle(document.querySelector('dd')).color") == GREEN
    browser.type("input", f"typed{Keys.ENTER}")
    browser.shows("1 typed", "#events")
    browser.shows("typed", "#socket")
    assert browser.errors() == []


def test_a_page_that_woke_its_sandbox_works(site: Sleeper, browser: Browser) -> None:
    browser.open(f"{site.site}/")
    page_works(browser, site.host)
    assert site.writes == 3


def test_a_page_that_stays_open_wakes_its_sandbox_with_what_it_does_next(
    sleepers: Sleepers, browser: Browser
) -> None:
    site = sleepers.make("site", *SITE)
    browser.open(f"{site.site}/")
    browser.shows("0 welcome", "#events")
    browser.shows("hello", "#socket")
    site.pause()
    browser.type("input", f"typed{Keys.ENTER}")
    # Frozen and not stopped: the stream and the socket from before the pause are still there.
    browser.shows("1 typed", "#events")
    browser.shows("typed", "#socket")
    assert site.writes == 5


def test_an_event_source_that_lost_its_sandbox_wakes_it_by_connecting_again(
    sleepers: Sleepers, browser: Browser
) -> None:
    site = sleepers.make("site", *SITE, way="stop")
    browser.open(f"{site.site}/")
    browser.shows("0 welcome", "#events")
    browser.evaluate("document.getElementById('events').textContent = ''")
    site.kubectl.patch(site.name, desiredState="Paused")
    browser.shows("0 welcome", "#events")
    assert site.writes == 5
