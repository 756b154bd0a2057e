"""Kubernetes APIs that tests put something into: one of their own, or the one of $KUBECONFIG.

Whatever tests create lies in namespaces of this run or is remembered, so that of a cluster which
is somebody's nothing is left.
"""

from __future__ import annotations

import itertools
import json
import os
import ssl
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httpx
import yaml

from gateway.cluster.direct import read_kubeconfig

from .kubectl import Kubectl, kubectl_binary
from .waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What the names of this run begin with.
RUN: Final = f"sgw-e2e-{uuid.uuid4().hex[:6]}"
_COUNT: Final = itertools.count(1)
#: Of a cluster that is somebody's: who the tests are in it.
_ADMINISTRATOR: Final = "administrator"


def fresh_name(what: str) -> str:
    """Return a name, of a namespace for example, that nobody else has."""
    return f"{RUN}-{what}-{next(_COUNT)}"


class InUseError(Exception):
    """An API was there before the run: its own controllers may be too."""


@dataclass(slots=True)
class Cluster:
    """A Kubernetes API, and what this run has put into it."""

    #: Whether it is nobody else's: it may be killed, and what is left in it disturbs nobody.
    own: ClassVar[bool] = True

    home: Path
    _definitions: set[str] = field(default_factory=set, init=False)
    _others: list[tuple[str, str]] = field(default_factory=list, init=False)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's: a server, what it is trusted by, and a token."""
        return self.home / "kubeconfig"

    @property
    def kubectl(self) -> Kubectl:
        """The administrator's."""
        return Kubectl(self.kubeconfig, self.home)

    def install(self, crd: Path) -> None:
        """Return once the API serves what a definition defines."""
        self._definitions.add(_name_of(crd))
        self.kubectl("apply", "-f", str(crd))
        self.kubectl("wait", "--for=condition=Established", "-f", str(crd))

    @contextmanager
    def serving(self, *crds: Path) -> Iterator[Path]:
        """Give the kubeconfig while these are served; raise InUseError if others brought one."""
        before = {one: self._is_installed(one) for one in crds}
        for crd, is_there in before.items():
            if is_there and _name_of(crd) not in self._definitions:
                raise InUseError(f"{_name_of(crd)} was there before, and so may its controllers be")
        added = [crd for crd, is_there in before.items() if not is_there]
        for crd in added:
            self.install(crd)
        try:
            yield self.kubeconfig
        finally:
            for crd in added:
                self.kubectl("delete", "-f", str(crd), f"--timeout={DEADLINE:.0f}s")
                self._definitions.discard(_name_of(crd))

    def _is_installed(self, crd: Path) -> bool:
        listed = self.kubectl("get", "crd", _name_of(crd), "--ignore-not-found", "--output=name")
        return bool(listed.strip())

    def kubeconfig_of(self, account: str, namespace: str = "default") -> Path:
        """Return a kubeconfig with a fresh token of a service account."""
        document = yaml.safe_load(self.kubeconfig.read_text())
        token = self.kubectl("create", "token", account, f"--namespace={namespace}").strip()
        document["users"][0]["user"] = {"token": token}
        path = self.home / f"kubeconfig-{namespace}-{account}"
        path.write_text(yaml.safe_dump(document))
        return path

    def remember(self, kind: str, name: str) -> None:
        """Delete at the end what lies in no namespace of this run."""
        self._others.append((kind, name))

    def clear(self) -> None:
        """Delete what the run has put here."""
        listed = self.kubectl("get", "namespaces", "--output=name").split()
        for namespace in (one for one in listed if one.startswith(f"namespace/{RUN}-")):
            # No controller may be there that ends a namespace.
            self.kubectl("delete", namespace, "--wait=false")
        for definition in self._definitions:
            self.kubectl("delete", "crd", definition, f"--timeout={DEADLINE:.0f}s")
        for kind, name in reversed(self._others):
            self.kubectl("delete", kind, name, "--ignore-not-found")


class GivenCluster(Cluster):
    """The cluster that $KUBECONFIG tells, by whatever way in it tells."""

    __slots__ = ()
    own = False

    @classmethod
    @contextmanager
    def of_environment(cls, home: Path) -> Iterator[GivenCluster]:
        """Become an administrator with a token, so that every client can be one."""
        cluster = cls(home)
        namespace = fresh_name("tests")
        binding = ("clusterrolebinding", namespace)
        _as_user("create", "namespace", namespace)
        try:
            account = f"--serviceaccount={namespace}:{_ADMINISTRATOR}"
            _as_user("create", "serviceaccount", _ADMINISTRATOR, f"--namespace={namespace}")
            _as_user("create", *binding, "--clusterrole=cluster-admin", account)
            token = _as_user(
                "create", "token", _ADMINISTRATOR, f"--namespace={namespace}", "--duration=2h"
            )
            view = _as_user("config", "view", "--raw", "--minify", "--flatten", "--output=json")
            document = json.loads(view)
            document["users"][0]["user"] = {"token": token.strip()}
            cluster.kubeconfig.touch(0o600)
            cluster.kubeconfig.write_text(yaml.safe_dump(document))
            until(lambda: _may_do_all(cluster.kubeconfig), "the account is an administrator")
            try:
                yield cluster
            finally:
                cluster.clear()
        finally:
            _as_user("delete", *binding, "--ignore-not-found")
            _as_user("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def connect(kubeconfig: Path) -> httpx.Client:
    """Return plain HTTP to an API as a kubeconfig with a token says."""
    base, token, trust = access_of(kubeconfig)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=base, verify=trust or False, headers=headers, timeout=DEADLINE)


def access_of(kubeconfig: Path) -> tuple[str, str, ssl.SSLContext | None]:
    """Return the server, the token (the embedded API's is in its URL), and how it is trusted."""
    access = read_kubeconfig(kubeconfig)
    trust = None
    if access.server.startswith("https:"):
        trust = ssl.create_default_context(cadata=access.ca)
    return access.server, access.token or (access.basic or "").partition(":")[2], trust


def _name_of(crd: Path) -> str:
    document: dict[str, Any] = yaml.safe_load(crd.read_text())
    name: str = document["metadata"]["name"]
    return name


def _as_user(*arguments: str) -> str:
    """Run kubectl with the caller's own setup: a plug-in may be what lets them in."""
    done = subprocess.run(
        [kubectl_binary(), *arguments], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def _may_do_all(kubeconfig: Path) -> bool:
    with connect(kubeconfig) as client:
        return client.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").is_success
