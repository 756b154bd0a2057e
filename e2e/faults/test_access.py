"""The gateway's own account loses its way into the API, and gets it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from e2e.waiting import soon

from .control import Answer, refused

if TYPE_CHECKING:
    from pathlib import Path

    from .accounts import Account
    from .control import Scene, Stage

DENIED: Final = "The gateway's own credentials do not allow it to wake this sandbox."


async def is_denied(scene: Scene, sleeper: str) -> None:
    """Check that everything says that the account is shut out, and that wakes fail for it."""
    scene.proxy.cut()
    await soon(lambda: scene.watch()["phase"] == "denied", "the denial is seen")
    assert scene.watch()["last_error"].startswith("AccessDenied: ")
    status, told = scene.gateway.readiness()
    assert (status, told["reflectors"]) == (200, {scene.watch_name: "denied"})
    assert refused(await scene.ask(sleeper), "wake_failed", DENIED)
    assert scene.told(sleeper)["waking"]["last_failure"] == DENIED
    assert scene.writes("denied") >= 1
    assert scene.restarts("denied") >= 1


async def test_a_token_that_is_revoked_and_later_replaced(
    stage: Stage, account: Account, home: Path
) -> None:
    first = account.issue("first")
    file = home / "token"
    file.write_text(first)
    async with stage(token=file) as scene:
        await scene.sleepers("sleeper")
        await scene.off_the_loop(account.revoke, "first", first)
        await is_denied(scene, "sleeper")
        file.write_text(await scene.off_the_loop(account.issue, "second"))
        await scene.recovers("sleeper")


async def test_a_token_that_was_replaced_before_it_ended(
    stage: Stage, account: Account, home: Path
) -> None:
    first = account.issue("first")
    file = home / "token"
    file.write_text(first)
    async with stage(token=file) as scene:
        await scene.sleepers("sleeper")
        file.write_text(await scene.off_the_loop(account.issue, "second"))
        await scene.off_the_loop(account.revoke, "first", first)
        assert await scene.ask("sleeper") == Answer(200)
        assert scene.writes("denied") == 0
        assert scene.restarts("denied") == 0


async def test_rights_that_are_withdrawn_and_given_back(stage: Stage, account: Account) -> None:
    token = account.issue("only")
    async with stage(token=token) as scene:
        await scene.sleepers("sleeper")
        await scene.off_the_loop(account.forbid, token)
        await is_denied(scene, "sleeper")
        await scene.off_the_loop(account.allow)
        await scene.recovers("sleeper")
