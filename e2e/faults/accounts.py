"""A gateway's own account, whose tokens and rights come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.clusters import connect, fresh_name
from e2e.manifests import NATIVE
from e2e.waiting import DEADLINE, until

if TYPE_CHECKING:
    from e2e.real_api import RealApi

#: An API server believes a token for ten seconds that it has found good.
_FORGOTTEN: Final = 2 * DEADLINE


@dataclass(frozen=True, slots=True)
class Account:
    """A service account with the rights of a gateway; each token lasts as long as its Secret."""

    api: RealApi
    namespace: str

    @classmethod
    def of(cls, api: RealApi) -> Account:
        """Make one that may read sandboxes and wake them."""
        made = cls(api, fresh_name("account"))
        api.kubectl("create", "namespace", made.namespace)
        api.kubectl("create", "serviceaccount", "gateway", f"--namespace={made.namespace}")
        made._make_role("", "get,list,watch,patch", "sandboxes.sandbox-gateway.dev")
        made.allow()
        return made

    @classmethod
    def of_sizer(cls, api: RealApi) -> Account:
        """Make one that may right-size too, and lead."""
        made = cls.of(api)
        made._make_role("-reads", "list,watch", "pods,nodes")
        made._make_role("-writes", "get,create,patch", "leases.coordination.k8s.io,events")
        made._make_role("-resizes", "patch", "pods/resize")
        for part in ("-reads", "-writes", "-resizes"):
            made.allow(part)
        return made

    def issue(self, name: str) -> str:
        """Return a token that `revoke` ends."""
        within = f"--namespace={self.namespace}"
        self.api.kubectl("create", "secret", "generic", name, within)
        bound = ("--bound-object-kind=Secret", f"--bound-object-name={name}")
        return self.api.kubectl("create", "token", "gateway", within, *bound).strip()

    def revoke(self, name: str, token: str) -> None:
        """Return once the API refuses a token."""
        self.api.kubectl("delete", "secret", name, f"--namespace={self.namespace}")
        self._wait_for(401, token)

    def allow(self, part: str = "") -> None:
        """Give a part of the rights."""
        subject = f"--serviceaccount={self.namespace}:gateway"
        name = f"{self.namespace}{part}"
        self.api.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", subject)

    def forbid(self, token: str) -> None:
        """Return once the API lets the account read no sandboxes any more."""
        self.api.kubectl("delete", "clusterrolebinding", self.namespace)
        self._wait_for(403, token)

    def forbid_resizing(self) -> None:
        """Return once the API lets it resize nothing any more."""
        self.api.kubectl("delete", "clusterrolebinding", f"{self.namespace}-resizes")
        what = {"verb": "patch", "resource": "pods", "subresource": "resize"}
        user = f"system:serviceaccount:{self.namespace}:gateway"
        review = {"spec": {"user": user, "resourceAttributes": what}}
        with connect(self.api.kubeconfig) as client:
            path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
            until(
                lambda: not client.post(path, json=review).json()["status"]["allowed"],
                "the account may not resize",
            )

    def _make_role(self, part: str, verbs: str, resources: str) -> None:
        told = (f"--verb={verbs}", f"--resource={resources}")
        self.api.kubectl("create", "clusterrole", f"{self.namespace}{part}", *told)

    def _wait_for(self, status: int, token: str) -> None:
        with connect(self.api.kubeconfig) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            until(
                lambda: client.get(f"/apis/{NATIVE}/sandboxes").status_code == status,
                f"the account is answered {status}",
                _FORGOTTEN,
            )
