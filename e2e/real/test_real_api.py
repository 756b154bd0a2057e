"""The native API as a real API server serves it, and a gateway over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from e2e.clusters import connect, fresh_name
from e2e.gateways import start_serve
from e2e.manifests import NATIVE
from e2e.platforms import NATIVE_CRD
from e2e.real_api import RealApi
from e2e.waiting import until
from gateway.sandbox.texts import format_duration

from .sandboxes import MERGE, NAMESPACE, SANDBOXES, create, report, said, wake

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from e2e.clusters import Cluster
    from e2e.programs import Programs


def test_a_status_is_written_apart_from_the_spec(admin: httpx.Client) -> None:
    created = create(admin, "apart")
    assert created["spec"]["desiredState"] == "Running", "what the definition says by default"

    both = {"spec": {"desiredState": "Paused"}, "status": {"phase": "Paused"}}
    asked = said(admin.patch(f"{SANDBOXES}/apart", json=both, headers=MERGE))
    assert "status" not in asked
    assert asked["metadata"]["generation"] == 2

    told = said(admin.patch(f"{SANDBOXES}/apart/status", json=both, headers=MERGE))
    assert told["status"] == {"phase": "Paused"}
    assert told["metadata"]["generation"] == 2


def test_a_write_whose_time_is_over_is_never_made(admin: httpx.Client) -> None:
    create(admin, "bounded")
    path, asleep = f"{SANDBOXES}/bounded", {"spec": {"desiredState": "Paused"}}
    late = admin.patch(path, json=asleep, headers=MERGE, params={"timeout": "1ns"})
    assert late.status_code == 504
    assert said(admin.get(path))["spec"]["desiredState"] == "Running"
    # A later write sees what any earlier one has left: that one has not come meanwhile.
    noted = {"metadata": {"annotations": {"note": "later"}}}
    assert said(admin.patch(path, json=noted, headers=MERGE))["metadata"]["generation"] == 1

    in_time = {"timeout": format_duration(4.982134567)}
    assert said(admin.patch(path, json=asleep, headers=MERGE, params=in_time))["spec"] != {}
    assert said(admin.get(path))["spec"]["desiredState"] == "Paused"


def test_what_is_no_sandbox_is_refused(admin: httpx.Client) -> None:
    body = {"apiVersion": NATIVE, "kind": "Sandbox", "metadata": {"name": "no"}}
    wrong = body | {"spec": {"desiredState": "Asleep"}}
    assert admin.post(SANDBOXES, json=wrong).status_code == 422


def test_a_watch_tells_of_changes(admin: httpx.Client) -> None:
    version = said(admin.get(SANDBOXES))["metadata"]["resourceVersion"]
    create(admin, "watched")
    report(admin, "watched", phase="Paused")
    params = {"watch": "1", "resourceVersion": version, "fieldSelector": "metadata.name=watched"}
    with admin.stream("GET", SANDBOXES, params=params) as stream:
        lines = stream.iter_lines()
        first, second = orjson.loads(next(lines)), orjson.loads(next(lines))
    assert (first["type"], second["type"]) == ("ADDED", "MODIFIED")
    assert second["object"]["status"] == {"phase": "Paused"}


def test_an_account_without_rights_is_refused(api: Cluster, admin: httpx.Client) -> None:
    create(admin, "private")
    api.kubectl("create", "serviceaccount", "nobody", f"--namespace={NAMESPACE}")
    with connect(api.kubeconfig_of("nobody", NAMESPACE)) as nobody:
        assert nobody.get(SANDBOXES).status_code == 403
        paused = {"spec": {"desiredState": "Paused"}}
        answer = nobody.patch(f"{SANDBOXES}/private", json=paused, headers=MERGE)
        assert answer.status_code == 403
    assert said(admin.get(f"{SANDBOXES}/private"))["spec"]["desiredState"] == "Running"


@pytest.mark.needs_own_api
def test_the_rest_of_an_old_list_is_gone(admin: httpx.Client) -> None:
    create(admin, "first")
    create(admin, "second")
    token = said(admin.get(SANDBOXES, params={"limit": 1}))["metadata"]["continue"]
    following = {"limit": 1, "continue": token}
    assert admin.get(SANDBOXES, params=following).status_code == 200
    # Only what is older than the newest version is ever forgotten.
    report(admin, "first", phase="Paused")
    gone = until(
        lambda: one if (one := admin.get(SANDBOXES, params=following)).is_error else None,
        "the token is no good any more",
    )
    assert (gone.status_code, gone.json()["reason"]) == (410, "Expired")


# ---- a gateway ----------------------------------------------------------------------------------


def authorize(api: Cluster, account: str) -> Path:
    """Give an account the rights of a gateway; return its kubeconfig."""
    rights = {
        "sandboxes.sandbox-gateway.dev": "get,list,watch,patch",
        "events": "create",
    }
    api.kubectl("create", "serviceaccount", account, f"--namespace={NAMESPACE}")
    for resource, verbs in rights.items():
        name = fresh_name(resource)
        api.kubectl("create", "clusterrole", name, f"--verb={verbs}", f"--resource={resource}")
        api.remember("clusterrole", name)
        subject = f"--serviceaccount={NAMESPACE}:{account}"
        api.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", subject)
        api.remember("clusterrolebinding", name)
    return api.kubeconfig_of(account, NAMESPACE)


async def test_many_requests_wake_a_sandbox_by_one_write(
    api: Cluster, admin: httpx.Client, programs: Programs, home: Path
) -> None:
    paused = create(admin, "sleeper", desiredState="Paused")
    report(admin, "sleeper", phase="Paused")
    gateway = start_serve(programs, home, authorize(api, "gateway"), dialects="native")
    gateway.wait_ready()
    assert gateway.state_of(NAMESPACE, "sleeper") == "paused"

    answers, reached = await wake(gateway, admin, "sleeper", 20)
    assert [one.status_code for one in answers] == [200] * 20
    assert reached == 20
    woken = said(admin.get(f"{SANDBOXES}/sleeper"))
    assert woken["spec"] == paused["spec"] | {"desiredState": "Running"}
    assert woken["metadata"]["generation"] == paused["metadata"]["generation"] + 1
    assert gateway.wakes_written == 1
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


@pytest.mark.needs_own_api
def test_a_gateway_outlives_a_crash_of_the_api(programs: Programs, home: Path) -> None:
    api = RealApi.not_yet_running(programs, home, NATIVE_CRD)
    api.start()
    api.kubectl("create", "namespace", NAMESPACE)
    with connect(api.kubeconfig) as admin:
        create(admin, "survivor", desiredState="Paused")
        report(admin, "survivor", phase="Paused")
        gateway = start_serve(programs, home, api.kubeconfig, dialects="native")
        gateway.wait_ready()
        assert gateway.state_of(NAMESPACE, "survivor") == "paused"

        api.kill()
        until(lambda: not gateway.metric("watch_healthy", watch="native"), "the loss is seen")
        assert gateway.readiness()[0] == 200
        assert gateway.state_of(NAMESPACE, "survivor") == "paused"
        api.start()
        said(admin.delete(f"{SANDBOXES}/survivor"))
        until(lambda: gateway.state_of(NAMESPACE, "survivor") is None, "the end is seen")
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors
