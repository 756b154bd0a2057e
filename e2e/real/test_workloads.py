"""Deployments and StatefulSets of a real API; the tests are their controllers.

The gateway has exactly the rights that the chart gives it. Endpoints may not be on loopback, so
pods have addresses of the network for tests of devices (RFC 2544), all of which this machine takes
for its own meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import yaml

from e2e.clusters import connect
from e2e.gateways import Gateway, start_serve
from e2e.pods import SeparatePods
from e2e.programs import PROGRAM, environment
from e2e.real_api import RealApi
from e2e.waiting import DEADLINE, soon, until
from gateway.dialects.deployment import ENABLED_LABEL, REPLICAS, SERVICE
from gateway.dialects.own import WAKE_ON_TRAFFIC
from tests.chart.helm import NAME, NAMESPACE, Helm, of_kind
from tests.chart.values import minimal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from e2e.pods import Pod
    from e2e.programs import Programs

Object = dict[str, Any]

NETWORK: Final = "198.18.0.0/15"
SERVICE_NETWORK: Final = "198.18.0.0/16"
WORK: Final = "work"
MERGE: Final = {"Content-Type": "application/merge-patch+json"}
SERVICES: Final = f"/api/v1/namespaces/{WORK}/services"
SLICES: Final = f"/apis/discovery.k8s.io/v1/namespaces/{WORK}/endpointslices"
#: What says who the gateway is and what it may do.
RIGHTS: Final = (
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
BOTH_KINDS: Final = pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])

_POD_ADDRESSES: Final = (f"198.19.0.{number}" for number in range(1, 255))
_SERVICE_ADDRESSES: Final = (f"198.18.77.{number}" for number in range(1, 255))
_NUMBERS: Final = itertools.count(1)


def collection(kind: str) -> str:
    return f"/apis/apps/v1/namespaces/{WORK}/{kind.lower()}s"


def said(answer: httpx.Response) -> Object:
    assert answer.is_success, answer.text
    found: Object = answer.json()
    return found


@dataclass(frozen=True)
class Workload:
    """A workload of which the test is the controller, and its Service's."""

    admin: httpx.Client
    kind: str
    name: str

    @classmethod
    def asleep(cls, admin: httpx.Client, kind: str, **annotations: str) -> Workload:
        """Create one that traffic may wake."""
        workload = cls(admin, kind, f"{kind.lower()}-{next(_NUMBERS)}")
        workload.create({WAKE_ON_TRAFFIC: "true"} | annotations, {ENABLED_LABEL: "true"})
        workload.report()
        return workload

    @property
    def path(self) -> str:
        return f"{collection(self.kind)}/{self.name}"

    def create(self, annotations: dict[str, str], labels: dict[str, str]) -> None:
        labelled = {"app": self.name}
        spec = {
            "replicas": 0,
            "selector": {"matchLabels": labelled},
            "template": {
                "metadata": {"labels": labelled},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            },
        }
        if self.kind == "StatefulSet":
            spec["serviceName"] = self.name
        metadata = {"name": self.name, "labels": labels, "annotations": annotations}
        said(
            self.admin.post(
                collection(self.kind),
                json={"apiVersion": "apps/v1", "kind": self.kind, "metadata": metadata}
                | {"spec": spec},
            )
        )

    def read(self) -> Object:
        return said(self.admin.get(self.path))

    def report(self, available: int = 0) -> None:
        """Tell of so many replicas, having seen the latest change."""
        status = {
            "observedGeneration": self.read()["metadata"]["generation"],
            "replicas": available,
            "readyReplicas": available,
            "availableReplicas": available,
        }
        answer = self.admin.patch(f"{self.path}/status", json={"status": status}, headers=MERGE)
        said(answer)

    def serve(self, address: str | None, name: str | None = None) -> None:
        """Create its Service (`address` None: headless)."""
        service = {
            "metadata": {"name": name or self.name},
            "spec": {
                "clusterIP": address or "None",
                "selector": {"app": self.name},
                "ports": [{"port": 80}],
            },
        }
        said(self.admin.post(SERVICES, json=service))

    def slice(self, *pods: Pod, service: str | None = None) -> None:
        """Create or change its Service's EndpointSlice: these are ready."""
        of = service or self.name
        endpoints = [
            {
                "addresses": [pod.ip],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": WORK, "name": "pod", "uid": pod.uid},
            }
            for pod in pods
        ]
        body = {
            "metadata": {"name": f"{of}-1", "labels": {"kubernetes.io/service-name": of}},
            "addressType": "IPv4",
            "endpoints": endpoints,
        }
        made = self.admin.post(SLICES, json=body)
        if made.status_code == httpx.codes.CONFLICT:
            change = {"endpoints": endpoints}
            made = self.admin.patch(f"{SLICES}/{of}-1", json=change, headers=MERGE)
        said(made)


# ---- what all of them stand on ------------------------------------------------------------------


@pytest.fixture(scope="module")
def addresses() -> Iterator[None]:
    """Let this machine take the network for its own."""
    command = ("local", NETWORK, "dev", "lo")
    added = subprocess.run(
        ["ip", "route", "add", *command], check=False, capture_output=True, text=True
    )
    if added.returncode and "File exists" not in added.stderr:
        pytest.skip(f"needs the right to route a network to this machine: {added.stderr}")
    yield
    if not added.returncode:
        subprocess.run(["ip", "route", "del", *command], check=True)


@pytest.fixture(scope="module")
def api(
    addresses: None,
    shared_programs: Programs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RealApi]:
    """An API whose Services have addresses of that network."""
    started = RealApi.not_yet_running(shared_programs, tmp_path_factory.mktemp("workloads"))
    started.start(f"--service-cluster-ip-range={SERVICE_NETWORK}")
    for name in (NAMESPACE, WORK):
        started.kubectl("create", "namespace", name)
    yield started
    assert started.program is not None
    assert started.program.end() == 0


@pytest.fixture(scope="module")
def admin(api: RealApi) -> Iterator[httpx.Client]:
    with connect(api.kubeconfig) as client:
        yield client


@pytest.fixture(scope="module")
def account(api: RealApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The gateway's own account."""
    objects = Helm(tmp_path_factory.mktemp("helm")).objects(
        minimal(dialects=["deployment", "statefulset"])
    )
    rights = api.home / "rights.yaml"
    rights.write_text(yaml.safe_dump_all(of_kind(objects, *RIGHTS)))
    api.kubectl("apply", "-f", str(rights), "--validate=strict")
    with connect(api.kubeconfig_of(NAME, NAMESPACE)) as client:
        yield client


@pytest.fixture(scope="module")
def served(
    api: RealApi,
    account: httpx.Client,
    shared_programs: Programs,
) -> Iterator[Gateway]:
    """A gateway with the rights of the chart."""
    gateway = start_serve(
        shared_programs,
        api.home,
        api.kubeconfig_of(NAME, NAMESPACE),
        dialects="deployment,statefulset",
        upstream_allow_cidrs=NETWORK,
    )
    gateway.wait_ready()
    yield gateway
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


@pytest.fixture
async def pods() -> AsyncIterator[SeparatePods]:
    made = SeparatePods()
    yield made
    await made.close()
    assert made.trespasses == 0


async def ask(gateway: Gateway, workload: Workload, port: int) -> httpx.Response:
    """Send one request, once."""
    headers = {"e2b-sandbox-id": f"{WORK}--{workload.name}", "e2b-sandbox-port": str(port)}
    async with httpx.AsyncClient(timeout=DEADLINE) as client:
        return await client.get(gateway.data, headers=headers)


async def seen(gateway: Gateway, workload: Workload, state: str) -> None:
    await soon(lambda: gateway.state_of(WORK, workload.name) == state, f"it is {state}")


async def woken(
    gateway: Gateway, workload: Workload, pods: SeparatePods, pod: Pod, count: int = 1
) -> list[httpx.Response]:
    """Wake a workload by so many requests at once; return their answers.

    Its controller acts once all of them wait and the gateway has written.
    """
    await seen(gateway, workload, "paused")
    written = gateway.wakes_written
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(gateway, workload, pods.port)) for _ in range(count)]
        await soon(lambda: gateway.waiters(WORK, workload.name) == count, "all of them wait")
        await soon(lambda: gateway.wakes_written > written, "the wake is written")
        await pods.open(pod)
        workload.report(available=1)
        workload.slice(pod)
    assert gateway.wakes_written == written + 1
    return [one.result() for one in asked]


# ---- waking -------------------------------------------------------------------------------------


@BOTH_KINDS
async def test_many_requests_wake_it_by_one_write_and_reach_its_ready_endpoint(
    served: Gateway, admin: httpx.Client, pods: SeparatePods, kind: str
) -> None:
    workload = Workload.asleep(admin, kind, **{REPLICAS: "2"})
    before = workload.read()
    workload.slice()
    pod = pods.make(workload.name, next(_POD_ADDRESSES))
    answers = await woken(served, workload, pods, pod, 20)
    assert [one.status_code for one in answers] == [200] * 20
    assert len(pod.requests) == 20
    after = workload.read()
    assert after["spec"] == before["spec"] | {"replicas": 2}
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


@BOTH_KINDS
async def test_a_named_service_is_reached_by_its_own_address(
    served: Gateway, admin: httpx.Client, pods: SeparatePods, kind: str
) -> None:
    workload = Workload.asleep(admin, kind, **{SERVICE: f"front-{kind.lower()}"})
    front = next(_SERVICE_ADDRESSES)
    workload.serve(front, f"front-{kind.lower()}")
    # What kube-proxy would do: whoever asks that address reaches the pod.
    pod = pods.make(workload.name, front)
    answers = await woken(served, workload, pods, pod)
    assert [one.status_code for one in answers] == [200]
    assert workload.read()["spec"]["replicas"] == 1


@BOTH_KINDS
async def test_a_named_service_without_an_address_is_reached_by_its_endpoints(
    served: Gateway, admin: httpx.Client, pods: SeparatePods, kind: str
) -> None:
    headless = f"headless-{kind.lower()}"
    workload = Workload.asleep(admin, kind, **{SERVICE: headless})
    workload.serve(None, headless)
    pod = pods.make(workload.name, next(_POD_ADDRESSES))
    await seen(served, workload, "paused")
    await pods.open(pod)
    asked = asyncio.create_task(ask(served, workload, pods.port))
    await soon(lambda: workload.read()["spec"]["replicas"] == 1, "it is woken")
    workload.slice(pod, service=headless)
    workload.report(available=1)
    assert (await asked).status_code == 200


async def test_a_pod_that_was_replaced_is_left_and_its_successor_asked(
    served: Gateway, admin: httpx.Client, pods: SeparatePods
) -> None:
    workload = Workload.asleep(admin, "Deployment")
    first, second = (pods.make(workload.name, next(_POD_ADDRESSES)) for _ in range(2))
    await woken(served, workload, pods, first)
    await pods.open(second)
    workload.slice(first, second)
    assert (await ask(served, workload, pods.port)).json()["pod"] == first.uid
    workload.slice(second)
    await soon(lambda: second.ip in str(served.told(WORK, workload.name)), "it has moved")
    await pods.retire(first)
    assert (await ask(served, workload, pods.port)).json()["pod"] == second.uid


# ---- pausing, and the next life -----------------------------------------------------------------


def command(api: RealApi, *arguments: str) -> str:
    """Run a command as the administrator; return what it prints."""
    done = subprocess.run(
        [PROGRAM, arguments[0], "--kubeconfig", str(api.kubeconfig), *arguments[1:]],
        env=environment(api.home),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@BOTH_KINDS
async def test_one_that_was_paused_is_never_looked_for_where_it_was(
    api: RealApi, served: Gateway, admin: httpx.Client, pods: SeparatePods, kind: str
) -> None:
    workload = Workload.asleep(admin, kind)
    first, second = (pods.make(workload.name, next(_POD_ADDRESSES)) for _ in range(2))
    await woken(served, workload, pods, first)

    await asyncio.to_thread(command, api, "pause", f"{WORK}/{workload.name}")
    paused = workload.read()
    assert paused["spec"]["replicas"] == 0
    assert paused["metadata"]["annotations"][REPLICAS] == "1"
    await seen(served, workload, "pausing")
    await pods.retire(first)
    workload.report()
    await seen(served, workload, "paused")

    # Nobody has told the slice yet: it goes on to say that the first pod is ready.
    asked = asyncio.create_task(ask(served, workload, pods.port))
    await soon(lambda: workload.read()["spec"]["replicas"] == 1, "it is woken")
    workload.report(available=1)
    placeless = "gives no ready address"
    await soon(lambda: placeless in str(served.told(WORK, workload.name)), "it is believed")
    assert not asked.done()
    await pods.open(second)
    workload.slice(second)
    assert (await asked).json()["pod"] == second.uid


async def test_two_that_share_an_address_are_both_reached_once_the_api_has_confirmed_it(
    served: Gateway, admin: httpx.Client, pods: SeparatePods
) -> None:
    pod = pods.make("shared", next(_POD_ADDRESSES))
    older, newer = (Workload.asleep(admin, "Deployment") for _ in range(2))
    await pods.open(pod)
    for workload in (older, newer):
        workload.report()
        await seen(served, workload, "paused")
        said(admin.patch(workload.path, json={"spec": {"replicas": 1}}, headers=MERGE))
        workload.report(available=1)
        workload.slice(pod)
        await seen(served, workload, "running")
    for workload in (older, newer, older):
        assert (await ask(served, workload, pods.port)).status_code == 200


# ---- commands -----------------------------------------------------------------------------------


async def test_the_commands_see_wake_and_pause_it(
    api: RealApi, served: Gateway, admin: httpx.Client, pods: SeparatePods
) -> None:
    workload = Workload.asleep(admin, "Deployment")
    name = f"{WORK}/{workload.name}"
    pod = pods.make(workload.name, next(_POD_ADDRESSES))
    assert "paused" in await asyncio.to_thread(command, api, "explain", name)
    await asyncio.to_thread(command, api, "wake", name)
    assert workload.read()["spec"]["replicas"] == 1
    workload.report(available=1)
    explained = await asyncio.to_thread(command, api, "explain", name)
    assert f"the ready endpoints of Service {workload.name}" in explained
    assert "gives no ready address" in explained
    workload.slice(pod)
    assert f"is forwarded to {pod.ip}" in await asyncio.to_thread(command, api, "explain", name)
    listed = await asyncio.to_thread(command, api, "list", "-n", WORK, "-o", "json")
    (found,) = [one for one in json.loads(listed) if one["name"] == workload.name]
    assert (found["dialect"], found["state"], found["address"]) == ("deployment", "running", pod.ip)
    await seen(served, workload, "running")
    await asyncio.to_thread(command, api, "pause", name)
    assert workload.read()["spec"]["replicas"] == 0


def test_one_that_did_not_opt_in_is_no_sandbox(
    api: RealApi, served: Gateway, admin: httpx.Client
) -> None:
    workload = Workload(admin, "Deployment", "outsider")
    workload.create({WAKE_ON_TRAFFIC: "true"}, {})
    opted_in = Workload.asleep(admin, "Deployment")
    until(lambda: served.state_of(WORK, opted_in.name), "the watch has come this far")
    assert served.told(WORK, "outsider") is None
    assert "outsider" not in command(api, "list", "-n", WORK)
    said(admin.patch(opted_in.path, json={"metadata": {"labels": None}}, headers=MERGE))
    until(lambda: served.told(WORK, opted_in.name) is None, "who opts out is no sandbox any more")


# ---- rights -------------------------------------------------------------------------------------


@BOTH_KINDS
def test_the_gateway_may_change_the_replicas_of_who_opted_in_and_nothing_else(
    account: httpx.Client, admin: httpx.Client, kind: str
) -> None:
    workload = Workload.asleep(admin, kind)
    outsider = Workload(admin, kind, f"outsider-{kind.lower()}")
    outsider.create({}, {})
    numbers = itertools.count(1)

    def denied(path: str, change: Object) -> str | None:
        answer = account.patch(path, json=change, headers=MERGE)
        return answer.json()["message"] if answer.is_error else None

    def other_image() -> Object:
        containers = [{"name": "web", "image": f"web:{next(numbers)}"}]
        return {"spec": {"template": {"spec": {"containers": containers}}}}

    # Rights and policies are in force a moment after they were written.
    until(
        lambda: "replicas only" in (denied(workload.path, other_image()) or ""),
        "the policy is in force",
    )
    wake = {"spec": {"replicas": 1}}
    assert denied(workload.path, wake) is None
    assert ENABLED_LABEL in (denied(outsider.path, wake) or "")
    elsewhere = {"metadata": {"annotations": {SERVICE: "other"}}}
    assert "Of annotations" in (denied(workload.path, elsewhere) or "")
    for refused in (f"{workload.path}/status", f"{workload.path}/scale"):
        assert account.patch(refused, json={"spec": {"replicas": 2}}, headers=MERGE).is_error
    assert account.delete(workload.path).status_code == 403
    assert account.get(f"/api/v1/namespaces/{WORK}/pods").status_code == 403
