"""The gateway's own account loses its way into the API, and gets it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from e2e.clusters import connect, fresh_name
from e2e.manifests import NATIVE
from e2e.waiting import DEADLINE, soon, until

from .control import Answer, refused

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.real_api import RealApi

    from .control import Scene, Stage

DENIED: Final = "The gateway's own credentials do not allow it to wake this sandbox."
#: An API server believes a token for ten seconds that it has found good.
FORGOTTEN: Final = 2 * DEADLINE


@dataclass(frozen=True, slots=True)
class Account:
    """A service account with the rights of a gateway; each token lasts as long as its Secret."""

    api: RealApi
    namespace: str
    home: Path

    def issue(self, name: str) -> str:
        """Return a token that `revoke` ends."""
        within = f"--namespace={self.namespace}"
        self.api.kubectl("create", "secret", "generic", name, within)
        bound = ("--bound-object-kind=Secret", f"--bound-object-name={name}")
        return self.api.kubectl("create", "token", "gateway", within, *bound).strip()

    def revoke(self, name: str, token: str) -> None:
        """Return once the API refuses a token."""
        self.api.kubectl("delete", "secret", name, f"--namespace={self.namespace}")
        self.wait_for(401, token)

    def allow(self) -> None:
        subject = f"--serviceaccount={self.namespace}:gateway"
        role = f"--clusterrole={self.namespace}"
        self.api.kubectl("create", "clusterrolebinding", self.namespace, role, subject)

    def forbid(self, token: str) -> None:
        """Return once the API lets the account do nothing any more."""
        self.api.kubectl("delete", "clusterrolebinding", self.namespace)
        self.wait_for(403, token)

    def wait_for(self, status: int, token: str) -> None:
        with connect(self.api.kubeconfig) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            until(
                lambda: client.get(f"/apis/{NATIVE}/sandboxes").status_code == status,
                f"the account is answered {status}",
                FORGOTTEN,
            )


@pytest.fixture
def account(api: RealApi, home: Path) -> Account:
    made = Account(api, fresh_name("account"), home)
    api.kubectl("create", "namespace", made.namespace)
    api.kubectl("create", "serviceaccount", "gateway", f"--namespace={made.namespace}")
    verbs, resource = "--verb=get,list,watch,patch", "--resource=sandboxes.sandbox-gateway.dev"
    api.kubectl("create", "clusterrole", made.namespace, verbs, resource)
    made.allow()
    return made


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
