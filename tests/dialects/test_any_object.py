"""Whatever an API may send: a route that is safe, or MalformedObject, and nothing else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.errors import MalformedObject, NotResumable
from gateway.sandbox.model import State, UpstreamTls

from .objects import (
    NOW,
    Path,
    agent_object,
    json_values,
    kruise_object,
    merged,
    native_object,
    paths_of,
    with_field,
    without_field,
)

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect, RawObject
    from gateway.sandbox.model import Route

SAMPLES: list[tuple[Dialect, RawObject]] = [
    (Kruise(), kruise_object()),
    (Native(), native_object()),
    (Native(local=True), native_object()),
    (AgentSandbox(), agent_object("v1beta1")),
    (AgentSandbox(), agent_object("v1alpha1")),
]
FIELDS = [(dialect, raw, path) for dialect, raw in SAMPLES for path in paths_of(raw)]
#: One value of each JSON type, and texts that parse as nothing.
ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 3.5, "", "odd", "9" * 5000, [], ["odd"], {}, {"a": 1},
]  # fmt: skip


def judge_safely(dialect: Dialect, raw: RawObject) -> None:
    """Call all that a dialect offers; check what must hold of every route."""
    with suppress(MalformedObject, NotResumable):
        dialect.check_resumable(raw, NOW)
    patches = []
    for patch_of in (dialect.wake_patch, dialect.standby_patch, dialect.postpone_patch):
        with suppress(MalformedObject):
            patches.append(patch_of(raw, NOW))
    for patch in filter(None, patches):
        assert set(patch) == {"spec"}
        merged(raw, patch)
    with suppress(MalformedObject):
        check_route(dialect.route(raw))


def check_route(route: Route) -> None:
    assert (route.address is None) == (route.state is not State.RUNNING)
    assert route.node is None or route.state is State.RUNNING
    assert route.key.namespace
    assert route.key.name
    assert route.uid
    assert route.id
    hash(route)


@pytest.mark.parametrize("value", ODD_VALUES)
def test_no_field_of_any_type_makes_judging_fail(value: object) -> None:
    for dialect, raw, path in FIELDS:
        judge_safely(dialect, with_field(raw, path, value))


def test_no_missing_field_makes_judging_fail() -> None:
    for dialect, raw, path in FIELDS:
        if isinstance(path[-1], str):
            judge_safely(dialect, without_field(raw, path))


@given(st.sampled_from(FIELDS), json_values)
def test_no_value_of_any_field_makes_judging_fail(
    field: tuple[Dialect, RawObject, Path], value: object
) -> None:
    dialect, raw, path = field
    judge_safely(dialect, with_field(raw, path, value))


@given(st.data(), st.sampled_from(SAMPLES))
def test_no_two_odd_fields_together_make_judging_fail(
    data: st.DataObject, sample: tuple[Dialect, RawObject]
) -> None:
    dialect, raw = sample
    first, second = data.draw(st.tuples(*[st.sampled_from(paths_of(raw))] * 2))
    changed = with_field(raw, first, data.draw(json_values))
    if second in paths_of(changed):
        changed = with_field(changed, second, data.draw(json_values))
    judge_safely(dialect, changed)


@given(st.sampled_from(SAMPLES), json_values)
def test_no_whole_object_makes_judging_fail(sample: tuple[Dialect, RawObject], whole: Any) -> None:
    dialect, _ = sample
    with pytest.raises(MalformedObject):
        dialect.route(whole)
    with suppress(MalformedObject, NotResumable):
        dialect.check_resumable(whole, NOW)
    for patch_of in (dialect.wake_patch, dialect.standby_patch, dialect.postpone_patch):
        with suppress(MalformedObject):
            patch_of(whole, NOW)


#: The fields that a sandbox cannot be without, and those of which only one type can be meant.
STRICT: list[tuple[int, Path, tuple[object, ...]]] = [
    *((i, ("metadata", name), (None, "", 1, True, [], {})) for i in (0, 1)
      for name in ("namespace", "name", "uid", "resourceVersion")),
    *((i, path, ("x", 1, True, [])) for i in (0, 1) for path in (
        ("metadata",), ("spec",), ("status",),
        ("metadata", "labels"), ("metadata", "annotations"))),
    *((i, ("status", "phase"), (1, True, [], {})) for i in (0, 1)),
    *((i, ("status", "conditions"), (1, "x", True, {})) for i in (0, 1)),
    *((i, ("spec", "shutdownTime"), (1, "x", True, [], {})) for i in (0, 1)),
    (0, ("spec", "paused"), (0, 1, "true", "", [], {})),
    (0, ("spec", "autoPausePolicy"), (1, "x", True, [])),
    (0, ("spec", "autoPausePolicy", "resume"), (1, "x", True, [])),
    (0, ("spec", "autoPausePolicy", "resume", "onIngressTraffic"), (1, "x", True, False, [])),
    (0, ("spec", "autoPausePolicy", "resume", "onIngressTraffic", "pauseTimeout"), (1, True, {})),
    (0, ("metadata", "ownerReferences"), (1, "x", True, {}, ["x"], [None, 1])),
    (0, ("status", "podInfo"), (1, "x", True, [])),
    (0, ("status", "podInfo", "podIP"), (1, "x", True, [], {})),
    (0, ("status", "podInfo", "podUID"), (1, True, [], {})),
    (0, ("status", "podInfo", "nodeName"), (1, True, [], {})),
    (1, ("spec", "desiredState"), (1, True, [], {})),
    (1, ("spec", "wakeOnTraffic"), (1, "x", True, False, [])),
    (1, ("spec", "wakeOnTraffic", "enabled"), (0, 1, "true", "", [], {})),
    (1, ("spec", "wakeOnTraffic", "timeout"), (1, True, [], {})),
    (1, ("spec", "ports"), (1, "x", True, {}, ["8080"], [0])),
    (1, ("status", "podIP"), (1, "x", True, [], {})),
    (1, ("status", "podUID"), (1, True, [], {})),
    (1, ("status", "nodeName"), (1, True, [], {})),
    (1, ("spec", "standby"), (1, "x", True, False, [])),
    *((i, ("metadata", name), (None, "", 1, True, [], {})) for i in (3, 4)
      for name in ("namespace", "name", "uid", "resourceVersion")),
    *((i, path, ("x", 1, True, [])) for i in (3, 4) for path in (
        ("metadata",), ("spec",), ("status",),
        ("metadata", "labels"), ("metadata", "annotations"))),
    *((i, ("apiVersion",), (None, "", "v1beta1", 1, True, [], {}, "agents.x-k8s.io/v1"))
      for i in (3, 4)),
    *((i, ("status", "conditions"), (1, "x", True, {})) for i in (3, 4)),
    *((i, ("status", "podIPs"), (1, "x", True, {}, [1], [None], ["x"])) for i in (3, 4)),
    *((i, ("spec", "shutdownTime"), (1, "x", True, [], {})) for i in (3, 4)),
    *((i, ("status", "nodeName"), (1, True, [], {})) for i in (3, 4)),
    (3, ("spec", "operatingMode"), (0, 1, True, [], {})),
    (4, ("spec", "replicas"), ("0", "", True, False, 0.0, [], {})),
    (2, ("spec", "process"), (1, "x", True, [])),
    (2, ("spec", "process", "port"), (0, "x", True, [], {})),
]  # fmt: skip


@pytest.mark.parametrize(("sample", "path", "values"), STRICT)
def test_a_field_of_another_type_makes_the_object_unusable_and_is_named(
    sample: int, path: Path, values: tuple[object, ...]
) -> None:
    dialect, raw = SAMPLES[sample]
    for value in values:
        with pytest.raises(MalformedObject) as caught:
            dialect.route(with_field(raw, path, value))
        assert caught.value.field.startswith(".".join(map(str, path)))


WAKE_TEXTS: list[tuple[int, Path]] = [
    (0, ("metadata", "annotations", "agents.kruise.io/wake-on-traffic")),
    (0, ("metadata", "annotations", "sandbox-gateway.dev/wake-on-traffic")),
    (1, ("metadata", "annotations", "sandbox-gateway.dev/wake-on-traffic")),
    (3, ("metadata", "annotations", "sandbox-gateway.dev/wake-on-traffic")),
    (4, ("metadata", "annotations", "sandbox-gateway.dev/wake-on-traffic")),
]


@given(st.sampled_from(WAKE_TEXTS), json_values.filter(lambda value: value != "true"))
def test_nothing_but_the_exact_text_opts_in(where: tuple[int, Path], value: object) -> None:
    dialect, raw = SAMPLES[where[0]]
    closed = without_field(raw, ("spec", "autoPausePolicy"))
    closed = without_field(closed, ("spec", "wakeOnTraffic"))
    with suppress(MalformedObject):
        assert not dialect.route(with_field(closed, where[1], value)).wake.enabled


def test_the_exact_text_opts_in() -> None:
    for sample, path in WAKE_TEXTS:
        dialect, raw = SAMPLES[sample]
        closed = without_field(raw, ("spec", "autoPausePolicy"))
        closed = without_field(closed, ("spec", "wakeOnTraffic"))
        assert dialect.route(with_field(closed, path, "true")).wake.enabled


@given(
    st.sampled_from(SAMPLES),
    st.sampled_from(["Paused", "Running", "Resuming", "Pausing", "Pending", "Failed", "Odd"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_only_what_runs_has_an_address_and_patches_settle(
    sample: tuple[Dialect, RawObject], phase: str, paused: bool, ready: bool, settled: bool
) -> None:
    dialect, raw = sample
    raw = with_field(raw, ("status", "phase"), phase)
    raw = with_field(raw, ("spec", "paused"), paused)
    raw = with_field(raw, ("spec", "desiredState"), "Paused" if paused else "Running")
    raw = with_field(raw, ("spec", "operatingMode"), "Suspended" if paused else "Running")
    raw = with_field(raw, ("spec", "replicas"), 0 if paused else 1)
    conditions = [
        {"type": "Ready", "status": str(ready), "observedGeneration": 3},
        {"type": "Suspended", "status": str(settled), "observedGeneration": 3},
        {"type": "SandboxPaused", "status": str(settled)},
    ]
    raw = with_field(raw, ("status", "conditions"), conditions)
    route = dialect.route(raw)
    if route.state is State.RUNNING:
        assert ready
        assert not paused
        assert route.address == "10.0.0.7"
    else:
        assert route.address is None
    for patch_of in (dialect.wake_patch, dialect.standby_patch):
        patch = patch_of(raw, NOW)
        assert (patch is None) == (paused is (patch_of == dialect.standby_patch))
        if patch is not None:
            assert patch_of(merged(raw, patch), NOW) is None


@pytest.mark.parametrize(("dialect", "raw"), SAMPLES, ids=lambda one: getattr(one, "name", ""))
def test_any_object_may_ask_for_tls_and_none_does_by_itself(
    dialect: Dialect, raw: RawObject
) -> None:
    assert dialect.route(raw).tls is None
    path = ("metadata", "annotations", "sandbox-gateway.dev/upstream-tls")
    assert dialect.route(with_field(raw, path, "8443")).tls == UpstreamTls(frozenset({8443}))
