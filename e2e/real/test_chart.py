"""The chart in a real API: it is taken, and its rights and policies hold as they are meant."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from e2e.clusters import connect, fresh_name
from e2e.conftest import serve
from e2e.platforms import AGENT_SANDBOXES, KruisePlatform, NativePlatform
from e2e.waiting import DEADLINE, until
from e2e.world import World
from gateway.cluster import marks
from gateway.cluster.client import STRATEGIC_PATCH, KubeClient
from gateway.cluster.cluster import Cluster as Watching
from gateway.cluster.config import ClusterConfig
from gateway.cluster.lease import LEASES, LeaseStore
from gateway.cluster.machines import ALL_NODES, PLACED_PODS
from gateway.cluster.pod_reading import read_pod
from gateway.cluster.pods import Pods
from gateway.cluster.resizer import Resizer
from gateway.dialects import own
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.deployment import DEPLOYMENT, ENABLED_LABEL, REPLICAS
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.model import Key
from gateway.sandbox.registry import Registry
from gateway.sandbox.scaling import Size
from gateway.sandbox.texts import format_time
from gateway.telemetry.instruments import Instruments
from tests.chart.helm import NAME, RELEASE, Helm, of_kind
from tests.chart.schema import CHART
from tests.chart.values import EVERYTHING, RESIZE, STANDBY, merged, minimal

from .sandboxes import MERGE, said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from e2e.clusters import Cluster
    from e2e.conftest import Serving
    from e2e.platforms import Platform
    from e2e.programs import Programs
    from gateway.dialects.base import Dialect
    from tests.chart.helm import Object, Values

#: What says who the gateway is and what it may do.
RIGHTS: Final = (
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
#: What no sandbox's own annotation may say by the gateway's hand.
AUTHORS: Final = (
    own.WAKE_ON_TRAFFIC, own.PORTS, own.TOKEN_SHA256, own.UPSTREAM_TLS, own.AUTO_STANDBY,
    own.ALWAYS_ON, own.STANDBY_CHECK, "example.com/owner",
)  # fmt: skip
#: APIs that a cluster has only if somebody installs them.
FOREIGN: Final = ("monitoring.coreos.com/", "gateway.networking.k8s.io/")


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> str:
    """That of the gateway."""
    name = fresh_name("edge")
    cluster.kubectl("create", "namespace", name)
    return name


def objects_of(helm: Helm, values: Values, namespace: str) -> list[Object]:
    """Render the chart into a namespace."""
    file = helm.file(values)
    text = helm.run("template", RELEASE, CHART, "--namespace", namespace, "--values", file)
    return [one for one in yaml.safe_load_all(text) if one is not None]


def apply(cluster: Cluster, objects: list[Object], path: Path, *options: str) -> str:
    path.write_text(yaml.safe_dump_all(objects))
    return cluster.kubectl("apply", "-f", str(path), "--validate=strict", *options)


@contextmanager
def applied(cluster: Cluster, objects: list[Object], path: Path) -> Iterator[None]:
    """Keep these objects for a while."""
    apply(cluster, objects, path)
    try:
        yield
    finally:
        cluster.kubectl("delete", "-f", str(path), "--ignore-not-found")


@pytest.mark.parametrize("values", [minimal(), EVERYTHING], ids=["the fewest values", "everything"])
def test_each_object_of_the_chart_is_taken(
    values: Values, cluster: Cluster, namespace: str, helm: Helm, home: Path
) -> None:
    if "namespaces" in values["settings"]:
        # Those of a run are there.
        values = merged(values, {"settings": {"namespaces": [namespace]}})
    rendered = objects_of(helm, values, namespace)
    objects = [one for one in rendered if not one["apiVersion"].startswith(FOREIGN)]
    taken = apply(cluster, objects, home / "chart.yaml", "--dry-run=server", "--output=name")
    assert len(taken.splitlines()) == len(objects)


def foreign_field(platform: Platform, number: int) -> Object:
    """Return a part of the spec that is not the gateway's to change."""
    if platform.dialect == "native":
        return {"ports": [number]}
    return {"template": {"number": number}}


def is_by_policy(answer: httpx.Response) -> bool:
    """Return whether an admission policy refuses, and not for want of rights the API itself."""
    return answer.status_code == 403 and "ValidatingAdmissionPolicy" in answer.json()["message"]


def refused_by_policy(account: httpx.Client, path: str, platform: Platform) -> httpx.Response:
    """Return the refusal of a change.

    Rights and policies are in force a moment after they were written, which comes first is open;
    what changes nothing a policy lets through.
    """
    numbers = itertools.count(1)

    def change_another() -> httpx.Response | None:
        spec = foreign_field(platform, next(numbers))
        answer = account.patch(path, json={"spec": spec}, headers=MERGE)
        return answer if is_by_policy(answer) else None

    return until(change_another, "the policy is in force")


def may_do_nothing_else(kubeconfig: Path, world: World) -> None:
    platform = world.platform
    base = f"/apis/{platform.version}/namespaces/{world.namespace}/sandboxes"
    path = f"{base}/coveted"
    with connect(kubeconfig) as account:
        refused = refused_by_policy(account, path, platform)
        assert refused.status_code == 403
        (wish,) = platform.wanting(sleep=True)
        assert wish in refused.json()["message"]
        assert "only" in refused.json()["message"]
        status = {"status": {"phase": "Running"}}
        assert account.patch(f"{path}/status", json=status, headers=MERGE).status_code == 403
        labels = {"metadata": {"labels": {"some": "label"}}}
        assert account.patch(path, json=labels, headers=MERGE).status_code == 403
        assert account.delete(path).status_code == 403
        assert account.post(base, json=platform.manifest("another")).status_code == 403
        assert account.get("/api/v1/secrets").status_code == 403


every_platform = pytest.mark.parametrize(
    "platform",
    [NativePlatform(), KruisePlatform(), AGENT_SANDBOXES[0], AGENT_SANDBOXES[-1]],
    ids=lambda one: one.label,
)


@every_platform
async def test_a_gateway_with_the_rights_of_the_chart_wakes_and_does_nothing_else(
    platform: Platform,
    serving: Serving,
    cluster: Cluster,
    namespace: str,
    helm: Helm,
    programs: Programs,
    home: Path,
) -> None:
    policy = {"admissionPolicy": {"enabled": True}}
    objects = objects_of(helm, merged(minimal(dialects=[platform.dialect]), policy), namespace)
    with (
        serving(platform),
        applied(cluster, of_kind(objects, *RIGHTS), home / "rights.yaml"),
    ):
        kubeconfig = cluster.kubeconfig_of(NAME, namespace)
        with serve(programs, home, kubeconfig, dialects=platform.dialect) as gateway:
            # Its controller is the administrator.
            async with World.over(
                replace(gateway, kubeconfig=cluster.kubeconfig), None, platform
            ) as world:
                await world.create("coveted")
                await asyncio.to_thread(may_do_nothing_else, kubeconfig, world)
                generation = await world.create_paused()
                answers = await asyncio.gather(*(world.ask() for _ in range(5)))
                assert {one.json()["pod"] for one in answers} == {world.pod().uid}
                assert await world.generation() == generation + 1
            until(
                lambda: gateway.metric("cluster_events_total", outcome="recorded"),
                "an Event is written",
            )


# ---- sleep --------------------------------------------------------------------------------------


DIALECTS: Final[tuple[Dialect, ...]] = (Native(), Kruise(), AgentSandbox())
NOTES: Final = {
    own.IDLE_SINCE: "2026-01-01T00:00:00Z",
    own.LAST_ACTIVITY_AT: "2026-01-01T00:00:00Z",
}


def near_its_pause(platform: Platform, name: str) -> Object:
    """Return a sandbox that its platform pauses soon, if that has a clock of its own."""
    if platform.dialect != "kruise":
        return platform.manifest(name)
    return platform.manifest(name, spec={"pauseTime": format_time(time.time() + 100)})


def standby(dialect: str, *, on: bool) -> Values:
    return merged(STANDBY, {"settings": {"dialects": [dialect], "standby": on}})


@every_platform
@pytest.mark.parametrize("on", [True, False], ids=["standby", "no standby"])
def test_a_gateway_puts_to_sleep_and_notes_why_only_where_it_is_to(
    platform: Platform,
    on: bool,
    serving: Serving,
    cluster: Cluster,
    namespace: str,
    helm: Helm,
    home: Path,
) -> None:
    objects = objects_of(helm, standby(platform.dialect, on=on), namespace)
    path = f"/apis/{platform.version}/namespaces/{namespace}/sandboxes"
    with (
        serving(platform),
        applied(cluster, of_kind(objects, *RIGHTS), home / "rights.yaml"),
        connect(cluster.kubeconfig) as admin,
        connect(cluster.kubeconfig_of(NAME, namespace)) as account,
    ):
        name = f"sleeper-{on}".lower()
        said(admin.post(path, json=platform.manifest(name)))

        def status_of(patch: Object) -> int:
            return account.patch(f"{path}/{name}", json=patch, headers=MERGE).status_code

        refused_by_policy(account, f"{path}/{name}", platform)
        granted = 200 if on else 403
        for note in (own.PINNED, own.HOLD_UNTIL, own.IDLE_SINCE, own.LAST_ACTIVITY_AT):
            assert status_of({"metadata": {"annotations": {note: "true"}}}) == granted
        for foreign in AUTHORS:
            assert status_of({"metadata": {"annotations": {foreign: "another"}}}) == 403
        assert status_of({"spec": platform.wanting(sleep=True)}) == granted
        if not on:
            sleeping = {"spec": platform.wanting(sleep=True)}
            said(admin.patch(f"{path}/{name}", json=sleeping, headers=MERGE))
        assert status_of({"spec": platform.wanting(sleep=False)}) == 200


@every_platform
async def test_the_gateways_own_code_may_do_all_that_sleep_takes(
    platform: Platform,
    serving: Serving,
    cluster: Cluster,
    namespace: str,
    helm: Helm,
    home: Path,
) -> None:
    objects = objects_of(helm, standby(platform.dialect, on=True), namespace)
    settings = yaml.safe_load(of_kind(objects, "ConfigMap")[0]["data"]["settings.yaml"])
    with (
        serving(platform),
        applied(cluster, of_kind(objects, *RIGHTS), home / "rights.yaml"),
        connect(cluster.kubeconfig) as admin,
    ):
        sandboxes = f"/apis/{platform.version}/namespaces/{namespace}/sandboxes"
        name = fresh_name("idle")
        made = said(admin.post(sandboxes, json=near_its_pause(platform, name)))
        key, uid = Key(platform.dialect, namespace, name), made["metadata"]["uid"]
        config = ClusterConfig(kubeconfig=str(cluster.kubeconfig_of(NAME, namespace)))
        dialects = [one for one in DIALECTS if one.name == platform.dialect]
        async with Watching(config, dialects, Registry(), Instruments()) as watching:
            await watching.wait_synced()
            writer = watching.writer
            for changes in (marks.PIN, marks.hold(time.time() + 60), marks.UNPIN, NOTES):
                assert (await writer.annotate(key, uid, changes)).uid == uid
            postponed = await writer.postpone(key, uid, time.time())
            if platform.dialect == "kruise":
                assert (postponed.idle.pause_at or 0.0) > time.time() + 200
            asleep = await writer.sleep(key, uid, lambda _: True, DEADLINE)
            assert asleep.version > postponed.version
            lease = LeaseStore(
                watching.client, settings["pod_namespace"], settings["lease_name"], time.time
            )
            held = await lease.acquire(await lease.read() or await lease.create(15), "gw-1", 15)
            await lease.release(await lease.renew(held, 15))
            pods = Pods(watching.client, settings["pod_namespace"], settings["peer_selector"])
            assert await pods.living() == ()


def test_the_times_of_a_platform_may_only_be_put_off(
    serving: Serving, cluster: Cluster, namespace: str, helm: Helm, home: Path
) -> None:
    platform = KruisePlatform()
    objects = objects_of(helm, standby("kruise", on=True), namespace)
    path = f"/apis/{platform.version}/namespaces/{namespace}/sandboxes"
    times = {"pauseTime": "2030-01-01T00:00:00Z", "shutdownTime": "2030-01-01T00:00:00Z"}
    with (
        serving(platform),
        applied(cluster, of_kind(objects, *RIGHTS), home / "rights.yaml"),
        connect(cluster.kubeconfig) as admin,
        connect(cluster.kubeconfig_of(NAME, namespace)) as account,
    ):
        said(admin.post(path, json=platform.manifest("timed", spec=times)))

        def status_of(**spec: object) -> int:
            patch = {"spec": spec}
            return account.patch(f"{path}/timed", json=patch, headers=MERGE).status_code

        refused_by_policy(account, f"{path}/timed", platform)
        assert status_of(pauseTime="2030-01-01T01:00:00+00:00") == 200
        assert status_of(pauseTime="2030-01-01T00:59:59Z") == 403
        assert status_of(pauseTime=None) == 403
        for end in ("2030-01-01T01:00:00Z", "2029-12-31T23:59:59Z", None):
            assert status_of(shutdownTime=end) == 403
        said(admin.patch(f"{path}/timed", json={"spec": {"paused": True}}, headers=MERGE))
        assert status_of(paused=False, shutdownTime=None) == 403
        assert status_of(paused=False, pauseTime=None, shutdownTime="2030-01-01T01:00:00Z") == 200
        assert status_of(pauseTime="2030-01-01T02:00:00Z") == 403


def test_a_workload_gets_back_what_was_taken_and_no_more(
    cluster: Cluster, namespace: str, helm: Helm, home: Path
) -> None:
    objects = objects_of(helm, standby("deployment", on=True), namespace)
    resource = DEPLOYMENT.resource
    path = f"/apis/{resource.group}/{resource.version}/namespaces/{namespace}/{resource.plural}"
    with (
        applied(cluster, of_kind(objects, *RIGHTS), home / "rights.yaml"),
        connect(cluster.kubeconfig) as admin,
        connect(cluster.kubeconfig_of(NAME, namespace)) as account,
    ):
        for name, labels in (("wide", {ENABLED_LABEL: "true"}), ("foreign", {})):
            said(admin.post(path, json=deployment(name, 3, labels)))

        def change(replicas: int, noted: str | None = None, name: str = "wide") -> httpx.Response:
            annotations = {} if noted is None else {REPLICAS: noted}
            patch = {"metadata": {"annotations": annotations}, "spec": {"replicas": replicas}}
            return account.patch(f"{path}/{name}", json=patch, headers=MERGE)

        def status_of(replicas: int, noted: str | None = None, name: str = "wide") -> int:
            return change(replicas, noted, name).status_code

        numbers = itertools.count(4)
        until(lambda: is_by_policy(change(next(numbers))), "the policy is in force")
        said(admin.patch(f"{path}/wide", json={"spec": {"replicas": 3}}, headers=MERGE))
        assert status_of(3, "1000") == 403
        assert status_of(0, "1000") == 403
        assert status_of(0, "3") == 200
        assert status_of(1000) == 403
        assert status_of(3) == 200
        assert status_of(0, "3", name="foreign") == 403


def deployment(name: str, replicas: int, labels: dict[str, str]) -> Object:
    pod = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": pod},
            "template": {
                "metadata": {"labels": pod},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            },
        },
    }


def test_replicas_may_see_each_other_and_write_their_lease(
    cluster: Cluster, namespace: str, helm: Helm, home: Path
) -> None:
    objects = objects_of(helm, standby("native", on=True), namespace)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    leases = f"{LEASES.path}/namespaces/{namespace}/{LEASES.plural}"
    # Another test's replica may have led here.
    cluster.kubectl("delete", "leases", "--all", f"--namespace={namespace}")
    with (
        applied(cluster, of_kind(objects, *RIGHTS), home / "rights.yaml"),
        connect(cluster.kubeconfig_of(NAME, namespace)) as account,
    ):
        until(lambda: account.get(pods).is_success, "its rights are in force")
        for name in (NAME, "another"):
            said(account.post(leases, json={"metadata": {"name": name}}))
        renewed = {"spec": {"holderIdentity": "gw-1"}}
        assert account.get(f"{leases}/{NAME}").status_code == 200
        assert account.patch(f"{leases}/{NAME}", json=renewed, headers=MERGE).status_code == 200
        assert account.get(f"{leases}/another").status_code == 403
        assert account.patch(f"{leases}/another", json=renewed, headers=MERGE).status_code == 403
        for path in (leases, f"{pods}/gw-1", "/api/v1/pods", "/api/v1/namespaces/default/pods"):
            assert account.get(path).status_code == 403
        assert account.delete(f"{leases}/{NAME}").status_code == 403


# ---- right-sizing -------------------------------------------------------------------------------

#: What a pod of these tests asks for.
AMOUNTS: Final = {"cpu": "500m", "memory": "1Gi"}


@pytest.fixture
def sized(cluster: Cluster, namespace: str, helm: Helm, home: Path) -> Iterator[Path]:
    """The kubeconfig of a gateway that right-sizes in its own namespace and does nothing else."""
    chosen = {"settings": {"dialects": ["native"], "namespaces": [namespace]}}
    objects = objects_of(helm, merged(RESIZE, chosen), namespace)
    with applied(cluster, of_kind(objects, *RIGHTS), home / "rights.yaml"):
        kubeconfig = cluster.kubeconfig_of(NAME, namespace)
        # One thing by each of its bindings; what is allowed and not there is 404.
        places = (
            "/api/v1/nodes",
            f"/apis/{NativePlatform().version}/namespaces/{namespace}/sandboxes/any",
            f"{LEASES.path}/namespaces/{namespace}/{LEASES.plural}/{NAME}-resize",
        )
        with connect(kubeconfig) as account:
            until(
                lambda: all(account.get(place).status_code != 403 for place in places),
                "its rights are in force",
            )
        yield kubeconfig


def make_pod(admin: httpx.Client, namespace: str, name: str) -> Object:
    """Make a pod, and the account that it has to have where no controller runs."""
    base = f"/api/v1/namespaces/{namespace}"
    made = admin.post(f"{base}/serviceaccounts", json={"metadata": {"name": "default"}})
    assert made.status_code in (201, 409), made.text
    web = {"name": "web", "image": "web", "resources": {"requests": AMOUNTS}}
    spec = {"automountServiceAccountToken": False, "containers": [web]}
    return said(
        admin.post(f"{base}/pods", json={"metadata": {"name": name, "labels": {}}, "spec": spec})
    )


def test_of_pods_the_account_may_change_their_amounts_and_nothing_else(
    cluster: Cluster, namespace: str, sized: Path
) -> None:
    other = fresh_name("other")
    cluster.kubectl("create", "namespace", other)
    with connect(cluster.kubeconfig) as admin, connect(sized) as account:
        for place in (namespace, other):
            make_pod(admin, place, "web")
        own_pod, foreign = (f"/api/v1/namespaces/{place}/pods/web" for place in (namespace, other))
        headers = {"Content-Type": STRATEGIC_PATCH}
        more = {"resources": {"requests": {"cpu": "700m"}}}
        hostile = {
            "metadata": {"labels": {"app": "another"}, "annotations": {"a": "b"}},
            "spec": {"hostPID": True, "containers": [more | {"name": "web", "image": "another"}]},
        }
        said(account.patch(f"{own_pod}/resize", json=hostile, headers=headers))
        pod = said(admin.get(own_pod))
        assert pod["metadata"].get("labels", {}) == pod["metadata"].get("annotations", {}) == {}
        assert "hostPID" not in pod["spec"]
        (web,) = pod["spec"]["containers"]
        assert (web["image"], web["resources"]["requests"]["cpu"]) == ("web", "700m")

        for path in (own_pod, foreign, f"{own_pod}/status", f"{foreign}/resize"):
            assert account.patch(path, json=hostile, headers=headers).status_code == 403
        assert account.delete(own_pod).status_code == 403
        assert account.post(f"{own_pod}/eviction", json={}).status_code == 403
        for path in (f"{own_pod}/log", "/api/v1/secrets", "/api/v1/nodes/any/proxy/pods"):
            assert account.get(path).status_code == 403


def test_who_right_sizes_has_a_lease_of_its_own(
    cluster: Cluster, namespace: str, sized: Path
) -> None:
    leases = f"{LEASES.path}/namespaces/{namespace}/{LEASES.plural}"
    cluster.kubectl("delete", "leases", "--all", f"--namespace={namespace}")
    with connect(sized) as account:
        for name, status in ((f"{NAME}-resize", 200), (NAME, 403)):
            said(account.post(leases, json={"metadata": {"name": name}}))
            renewed = {"spec": {"holderIdentity": "gw-1"}}
            path = f"{leases}/{name}"
            assert account.get(path).status_code == status
            assert account.patch(path, json=renewed, headers=MERGE).status_code == status


async def test_the_gateways_own_code_may_do_all_that_right_sizing_takes(
    cluster: Cluster, namespace: str, sized: Path
) -> None:
    with connect(cluster.kubeconfig) as admin:
        pod = read_pod(make_pod(admin, namespace, fresh_name("web")))
    async with KubeClient.connect(ClusterConfig(kubeconfig=str(sized))) as client:
        resizer = Resizer(client)
        assert await resizer.supported()
        wanted = Size(1500, 2 * 2**30)
        assert (await resizer.resize(pod, wanted)).desired == wanted
        for selection in (PLACED_PODS, ALL_NODES):
            await client.list_page(selection, None)
