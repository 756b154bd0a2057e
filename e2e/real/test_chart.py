"""The chart in a real API: it is taken, and its rights and policies hold as they are meant."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from e2e.gateways import start_serve
from e2e.real_api import connect
from e2e.waiting import until
from tests.chart.helm import NAME, NAMESPACE, Helm, of_kind
from tests.chart.values import EVERYTHING, merged, minimal

from .sandboxes import MERGE, SANDBOXES, create, report, said, wake

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from e2e.programs import Programs
    from e2e.real_api import RealApi
    from tests.chart.helm import Object

#: What says who the gateway is and what it may do.
RIGHTS: Final = (
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
#: APIs that a cluster has only if somebody installs them.
FOREIGN: Final = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def namespaces(api: RealApi) -> None:
    """Those of the gateway and of its values."""
    for name in (NAMESPACE, *EVERYTHING["settings"]["namespaces"]):
        api.kubectl("create", "namespace", name)


def apply(api: RealApi, objects: list[Object], path: Path, *options: str) -> str:
    path.write_text(yaml.safe_dump_all(objects))
    return api.kubectl("apply", "-f", str(path), "--validate=strict", *options)


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("values", [minimal(), EVERYTHING], ids=["the fewest values", "everything"])
def test_each_object_of_the_chart_is_taken(
    values: Object, api: RealApi, helm: Helm, home: Path
) -> None:
    rendered = helm.objects(values)
    objects = [one for one in rendered if not one["apiVersion"].startswith(FOREIGN)]
    taken = apply(api, objects, home / "chart.yaml", "--dry-run=server", "--output=name")
    assert len(taken.splitlines()) == len(objects)


@pytest.mark.usefixtures("namespaces")
async def test_a_gateway_with_the_rights_of_the_chart_wakes_and_does_nothing_else(
    api: RealApi, admin: httpx.Client, helm: Helm, programs: Programs, home: Path
) -> None:
    policy = {"admissionPolicy": {"enabled": True}}
    objects = helm.objects(merged(minimal(dialects=["native"]), policy))
    apply(api, of_kind(objects, *RIGHTS), home / "rights.yaml")
    kubeconfig = api.kubeconfig_of(NAME, NAMESPACE)
    create(admin, "guarded", desiredState="Paused")
    report(admin, "guarded", phase="Paused")

    create(admin, "coveted")
    path = f"{SANDBOXES}/coveted"
    with connect(kubeconfig) as account:
        # A policy is in force a moment after it was written; what changes nothing it lets through.
        ports = itertools.count(1)

        def open_another() -> httpx.Response | None:
            answer = account.patch(path, json={"spec": {"ports": [next(ports)]}}, headers=MERGE)
            return answer if answer.is_error else None

        refused = until(open_another, "the policy is in force")
        assert refused.status_code == 403
        assert "desiredState only" in refused.json()["message"]
        status = {"status": {"phase": "Running"}}
        assert account.patch(f"{path}/status", json=status, headers=MERGE).status_code == 403
        assert account.delete(path).status_code == 403
        assert account.get("/api/v1/secrets").status_code == 403

    gateway = start_serve(programs, home, kubeconfig, dialects="native")
    gateway.wait_ready()
    answers, _ = await wake(gateway, admin, "guarded", 1)
    assert answers[0].status_code == 200
    assert said(admin.get(f"{SANDBOXES}/guarded"))["spec"]["desiredState"] == "Running"
    until(lambda: gateway.metric("cluster_events_total", outcome="recorded"), "an Event is written")
    assert gateway.program.end() == 0
