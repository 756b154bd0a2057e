"""VS Code in a sandbox and in a browser: code-server, without its modules in machine code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .servers import CODE_SERVER

if TYPE_CHECKING:
    from pathlib import Path

    from .browser import Browser
    from .sleepers import Sleepers


def test_its_workbench_shows_a_file_of_the_sandbox(
    sleepers: Sleepers, browser: Browser, tmp_path: Path
) -> None:
    home, folder = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    folder.mkdir()
    (folder / "letter.txt").write_text("Dear reader, this came over a WebSocket.\n")
    code = sleepers.make("code", *CODE_SERVER, env={"HOME": str(home)}, cwd=str(folder))
    browser.open(f"{code.site}/?folder={folder}")
    # Files come over the WebSocket of the workbench, and over nothing else.
    browser.shows("letter.txt", ".explorer-viewlet")
    browser.double_click("[aria-label^='letter.txt']")
    browser.shows("Dear reader", ".editor-instance")
    browser.picture(tmp_path / "workbench.png")
    assert code.writes == 3
