"""The chart in a real API: it is taken, and its rights and policies hold as they are meant."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from e2e.clusters import connect, fresh_name
from e2e.conftest import serve
from e2e.platforms import AGENT_SANDBOXES, KruisePlatform, NativePlatform
from e2e.waiting import until
from e2e.world import World
from tests.chart.helm import NAME, RELEASE, Helm, of_kind
from tests.chart.schema import CHART
from tests.chart.values import EVERYTHING, merged, minimal

from .sandboxes import MERGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from e2e.clusters import Cluster
    from e2e.conftest import Serving
    from e2e.platforms import Platform
    from e2e.programs import Programs
    from tests.chart.helm import Object, Values

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


def refused_by_policy(account: httpx.Client, path: str, platform: Platform) -> httpx.Response:
    """Return the refusal of a change.

    A policy is in force a moment after it was written; what changes nothing it lets through.
    """
    numbers = itertools.count(1)

    def change_another() -> httpx.Response | None:
        spec = foreign_field(platform, next(numbers))
        answer = account.patch(path, json={"spec": spec}, headers=MERGE)
        return answer if answer.is_error else None

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


@pytest.mark.parametrize(
    "platform",
    [NativePlatform(), KruisePlatform(), AGENT_SANDBOXES[0], AGENT_SANDBOXES[-1]],
    ids=lambda one: one.label,
)
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
