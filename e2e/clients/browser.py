"""A real Chromium without a window, as a person has it: pages, cookies, a console, pictures.

Debian's `chromium` and `chromium-driver` come from one source and fit each other, so nothing is
downloaded to make them fit.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from selenium.common.exceptions import JavascriptException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from e2e.programs import environment
from e2e.waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Names below it are this machine, and to a browser as trustworthy as https (Secure Contexts,
#: section 3.1): what needs that, such as service workers, works without a certificate.
SUFFIX: Final = "sandboxes.localhost"
_SWITCHES: Final = (
    "--headless=new",
    "--window-size=1280,800",
    # Sandboxes are here, and everything else is nowhere.
    f"--host-resolver-rules=MAP *.{SUFFIX} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
)


class NoBrowserError(Exception):
    """The browser or its driver is not installed."""


class Browser:
    """One window of a browser that nobody used before."""

    def __init__(self, driver: Chrome) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        """Go to a page; return once it has loaded."""
        self._driver.get(url)

    @property
    def url(self) -> str:
        """Where it is now."""
        return str(self._driver.current_url)

    @property
    def title(self) -> str:
        return str(self._driver.title)

    def evaluate(self, expression: str) -> Any:
        """Return what a JavaScript expression gives; a promise is waited for."""
        return self._driver.execute_script(f"return {expression}")

    def text(self, selector: str) -> str | None:
        """Return the visible text of the first element that a CSS selector finds; None: none.

        In one step: between two, a page that loads itself again may be another one.
        """
        found = self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")
        return None if found is None else str(found).replace("\u00a0", " ")

    def double_click(self, selector: str) -> None:
        """Click twice where the first element is that a CSS selector finds."""
        found = self._driver.find_element(By.CSS_SELECTOR, selector)
        ActionChains(self._driver).double_click(found).perform()

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that a CSS selector finds."""
        self._driver.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def shows(self, text: str, selector: str = "body", deadline: float = DEADLINE) -> None:
        """Return once an element's visible text has this in it."""
        until(lambda: text in (self.text(selector) or ""), f"{selector} shows {text!r}", deadline)

    def becomes(self, expression: str, deadline: float = DEADLINE) -> Any:
        """Return the value of a JavaScript expression once it is a true one."""

        def value() -> Any:
            try:
                return self.evaluate(expression)
            except JavascriptException:  # what it asks for is not there yet
                return None

        return until(value, expression, deadline)

    def errors(self) -> list[str]:
        """Return what the console has of errors since this was asked last."""
        driver: Any = self._driver  # this method of it has no types
        logged = driver.get_log("browser")
        return [str(entry["message"]) for entry in logged if entry["level"] == "SEVERE"]

    def picture(self, path: Path) -> None:
        """Write what the window shows to a PNG file."""
        path.write_bytes(self._driver.get_screenshot_as_png())


@contextmanager
def start_browser(home: Path) -> Iterator[Browser]:
    """Start a browser whose profile is in `home`; raise NoBrowserError."""
    options = ChromeOptions()
    options.binary_location = _installed("chromium")
    options.accept_insecure_certs = True  # of a certificate authority that lives for one test
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for switch in (*_SWITCHES, f"--user-data-dir={home / 'chromium'}"):
        options.add_argument(switch)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # it refuses to sandbox its pages as root
    log = str(home / "chromedriver.log")
    # A socket of the browser's is in TMPDIR, and the names of sockets are short (unix(7)).
    with TemporaryDirectory(ignore_cleanup_errors=True) as short:
        service = ChromeService(
            _installed("chromedriver"), log_output=log, env=environment(home, TMPDIR=short)
        )
        driver = Chrome(options, service)
        try:
            driver.set_page_load_timeout(DEADLINE)
            driver.set_script_timeout(DEADLINE)
            yield Browser(driver)
        finally:
            driver.quit()


def _installed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise NoBrowserError(f"no {program}: apt-get install chromium chromium-driver")
    return found
