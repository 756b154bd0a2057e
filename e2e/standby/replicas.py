"""Gateways that know each other: each has its pod in the API, with an address of its own."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from e2e.clusters import connect
from e2e.faults.fleet import Fleet, Member
from e2e.programs import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from e2e.faults.fleet import Way
    from e2e.faults.timeline import Timeline
    from e2e.programs import Programs

LEASE: Final = "gateway"
_LABELS: Final = {"app": "gateway"}
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_ADDRESSES: Final = (f"127.200.{number // 250}.{number % 250 + 1}" for number in itertools.count())


class Replicas(Fleet):
    """A fleet whose members elect a leader and ask each other. Use `of`, of this class."""

    def __init__(
        self,
        programs: Programs,
        home: Path,
        kubeconfig: Way,
        timeline: Timeline,
        settings: dict[str, str],
        admin: httpx.Client,
        namespace: str,
    ) -> None:
        token = home / "admin-token"
        token.write_text(secrets.token_urlsafe(32))
        token.chmod(0o600)
        self.token = token.read_text()
        self._admin = admin
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._port = free_port()
        super().__init__(
            programs, home, kubeconfig, timeline,
            {
                "standby": "true",
                "lease_name": LEASE,
                "pod_namespace": namespace,
                "peer_selector": "app=gateway",
                "admin_token_file": str(token),
            } | settings,
        )  # fmt: skip

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        count: int,
        programs: Programs,
        home: Path,
        administrator: Path,
        kubeconfig: Way,
        namespace: str,
        timeline: Timeline,
        settings: dict[str, str],
    ) -> AsyncIterator[Replicas]:
        """Run so many for the body's time. `kubeconfig` is theirs, `administrator` for the pods."""
        with connect(administrator) as admin:
            # What a pod runs as; here is nobody who makes it for each namespace.
            account = {"metadata": {"name": "default"}}
            answer = admin.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account)
            assert answer.status_code in (201, 409), answer.text
            replicas = cls(programs, home, kubeconfig, timeline, settings, admin, namespace)
            async with replicas.running(count):
                yield replicas

    @property
    def leader(self) -> Member | None:
        """Who leads, by its own word."""
        leading = [one for one in self.members if one.gateway.metric("leader")]
        return leading[0] if leading else None

    async def drain(self, member: Member) -> int:
        status = await super().drain(member)
        await asyncio.to_thread(self._remove, member)
        return status

    async def kill(self, member: Member) -> None:
        await super().kill(member)
        await asyncio.to_thread(self._remove, member)

    async def _settings_of(self, name: str) -> dict[str, str]:
        address = next(_ADDRESSES)
        await asyncio.to_thread(self._enter, name, address)
        return {"pod_name": name, "admin_listen": f"{address}:{self._port}"}

    def _enter(self, name: str, address: str) -> None:
        """Make a pod of the API, as a kubelet would that runs it."""
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": _LABELS},
            "spec": {"containers": [{"name": "gateway", "image": "gateway"}]},
        }
        answer = self._admin.post(self._pods, json=body)
        assert answer.status_code == 201, answer.text
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        answer = self._admin.patch(
            f"{self._pods}/{name}/status", json={"status": status}, headers=_MERGE
        )
        assert answer.status_code == 200, answer.text

    def _remove(self, member: Member) -> None:
        name = member.gateway.program.name.rpartition("-")[0]
        answer = self._admin.delete(f"{self._pods}/{name}", params={"gracePeriodSeconds": "0"})
        assert answer.status_code in (200, 404), answer.text
