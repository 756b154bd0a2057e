"""What the gateway may do in a cluster: what its code does, and nothing else.

The expressions of the admission policies are evaluated by the reference implementation of CEL.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import json_merge_patch
import pytest
from cel_expr_python import cel

from gateway.cluster.lease import LEASES
from gateway.cluster.machines import NODES
from gateway.cluster.pods import PODS
from gateway.cluster.resizer import SUBRESOURCE
from gateway.dialects import own
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.deployment import (
    DEPLOYMENT,
    ENABLED_LABEL,
    REPLICAS,
    SERVICE,
    STATEFUL_SET,
)
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.settings import DialectName
from tests.chart.helm import NAME, NAMESPACE, Helm, Object, of_kind, only
from tests.chart.values import EVERYTHING, RESIZE, STANDBY, merged, minimal

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}"
VERBS = ["get", "list", "watch", "patch"]
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}
SIZES = {
    "apiGroups": [PODS.group],
    "resources": [f"{PODS.plural}/{SUBRESOURCE}"],
    "verbs": ["patch"],
}
MACHINES = {
    "apiGroups": [NODES.group],
    "resources": [NODES.plural, PODS.plural],
    "verbs": ["list", "watch"],
}
GROUPS = {
    DialectName.NATIVE: "sandbox-gateway.dev",
    DialectName.KRUISE: "agents.kruise.io",
    DialectName.AGENT_SANDBOX: "agents.x-k8s.io",
    DialectName.DEPLOYMENT: "apps",
    DialectName.STATEFUL_SET: "apps",
}
RESOURCES = {
    DialectName.NATIVE: "sandboxes",
    DialectName.KRUISE: "sandboxes",
    DialectName.AGENT_SANDBOX: "sandboxes",
    DialectName.DEPLOYMENT: "deployments",
    DialectName.STATEFUL_SET: "statefulsets",
}
WORKLOADS = (DialectName.DEPLOYMENT, DialectName.STATEFUL_SET)
PLACES = [
    {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["list", "watch"],
    },
    {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]},
]
DIALECTS: dict[DialectName, Dialect] = {
    DialectName.NATIVE: Native(),
    DialectName.KRUISE: Kruise(),
    DialectName.AGENT_SANDBOX: AgentSandbox(),
    DialectName.DEPLOYMENT: DEPLOYMENT,
    DialectName.STATEFUL_SET: STATEFUL_SET,
}

#: Seconds since the epoch.
NOW = 1_800_000_000.0

workloads = pytest.mark.parametrize("dialect", WORKLOADS, ids=lambda one: one.value)
every_dialect = pytest.mark.parametrize("dialect", DialectName, ids=lambda one: one.value)


def sandboxes(dialect: DialectName) -> dict[str, Any]:
    return {"apiGroups": [GROUPS[dialect]], "resources": [RESOURCES[dialect]], "verbs": VERBS}


@every_dialect
def test_the_chart_and_the_code_mean_the_same_api(helm: Helm, dialect: DialectName) -> None:
    (policy,) = of_kind(
        helm.objects(minimal(dialects=[dialect.value])), "ValidatingAdmissionPolicy"
    )
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    resource = DIALECTS[dialect].resource
    assert rule["apiGroups"] == [resource.group] == [GROUPS[dialect]]
    assert set(rule["apiVersions"]) == {resource.version, *resource.older}
    assert rule["resources"] == [resource.plural, f"{resource.plural}/*"]
    assert resource.plural == RESOURCES[dialect]


@every_dialect
def test_in_all_namespaces_a_cluster_role_has_these_rules_alone(
    helm: Helm, dialect: DialectName
) -> None:
    objects = helm.objects(minimal(dialects=[dialect.value]))
    assert not of_kind(objects, "Role", "RoleBinding")  # Nor any right to a Lease or to pods.
    (role,) = of_kind(objects, "ClusterRole")
    places = PLACES if dialect in WORKLOADS else []
    assert role["rules"] == [sandboxes(dialect), *places, EVENTS]
    (binding,) = of_kind(objects, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]


def test_in_some_namespaces_there_is_a_role_in_each_and_none_for_the_cluster(helm: Helm) -> None:
    # But for what a node has left, for which see below.
    objects = helm.objects(merged(EVERYTHING, {"settings": {"resize": False}}))
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    roles, bindings = (
        [one for one in of_kind(objects, kind) if one["metadata"]["name"] == NAME]
        for kind in ("Role", "RoleBinding")
    )
    for found in (roles, bindings):
        assert [one["metadata"]["namespace"] for one in found] == ["team-a", "team-b"]
    wanted = [*(sandboxes(dialect) for dialect in DialectName), *PLACES]
    for role in roles:
        assert role["rules"][-1] == EVENTS
        assert sorted(role["rules"][:-1], key=str) == sorted(wanted, key=str)


@pytest.mark.parametrize("namespaces", [[], ["team-a", "team-b"]], ids=["all", "some"])
def test_sizes_are_given_where_sandboxes_are_and_all_pods_are_seen(
    helm: Helm, namespaces: list[str]
) -> None:
    values = merged(RESIZE, {"settings": {"namespaces": namespaces, "dialects": ["native"]}})
    objects, resize = helm.objects(values), f"{NAMESPACE}-{NAME}-resize"
    assert only(objects, "ClusterRole", resize)["rules"] == [MACHINES]
    binding = only(objects, "ClusterRoleBinding", resize)
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("ClusterRole", resize)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]
    named = {resize, f"{NAME}-replicas"}
    others = [
        one
        for one in of_kind(objects, "ClusterRole", "Role")
        if one["metadata"]["name"] not in named
    ]
    assert [one["metadata"].get("namespace", "") for one in others] == (namespaces or [""])
    for role in others:
        assert role["rules"] == [sandboxes(DialectName.NATIVE), SIZES, EVENTS]


LEASES_OF = {
    "standby": (STANDBY, True, [NAME]),
    "resize": (RESIZE, False, [f"{NAME}-resize"]),
    "everything": (EVERYTHING, True, [NAME, f"{NAME}-resize"]),
}


@pytest.mark.parametrize(("values", "seeing", "names"), LEASES_OF.values(), ids=LEASES_OF)
def test_replicas_may_list_pods_and_write_their_leases_where_they_are_themselves(
    helm: Helm, values: Object, names: list[str], *, seeing: bool
) -> None:
    objects = helm.objects(values)
    role = only(objects, "Role", f"{NAME}-replicas")
    binding = only(objects, "RoleBinding", f"{NAME}-replicas")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == NAMESPACE
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", f"{NAME}-replicas")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]
    lease = {"apiGroups": [LEASES.group], "resources": [LEASES.plural]}
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    assert role["rules"] == [
        *([pods] if seeing else []),
        lease | {"verbs": ["create"]},
        lease | {"resourceNames": names, "verbs": ["get", "patch"]},
    ]
    assert not of_kind(objects, "Lease")  # Whoever comes first makes it.


def test_the_account_is_the_pods_own(helm: Helm) -> None:
    objects = helm.objects(minimal())
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == only(objects, "ServiceAccount")["metadata"]["name"]
    assert only(objects, "ServiceAccount")["automountServiceAccountToken"] is False


# ---- the admission policy -----------------------------------------------------------------------

ENVIRONMENT = cel.NewEnv(variables=dict.fromkeys(("object", "oldObject", "request"), cel.Type.DYN))


def denials(
    policy: Object, old: Object, new: Object, user: str = ACCOUNT, subresource: str = ""
) -> list[str]:
    """Return what the policy says against an update; nothing where it is not concerned."""
    spec = policy["spec"]
    data = {
        "object": new,
        "oldObject": old,
        "request": {"userInfo": {"username": user}, "subResource": subresource},
    }
    variables = {one["name"]: one["expression"] for one in spec["variables"]}

    def inlined(expression: str) -> str:
        """Variables may be defined by others."""
        put_in = re.sub(r"variables\.(\w+)", lambda name: f"({variables[name[1]]})", expression)
        return put_in if put_in == expression else inlined(put_in)

    def holds(expression: str) -> bool:
        """An expression that cannot be evaluated denies: failurePolicy is Fail."""
        result = ENVIRONMENT.compile(inlined(expression)).eval(data=data)
        if result.type() == cel.Type.ERROR:
            return False
        assert isinstance(result.value(), bool), result
        return bool(result.value())

    if not all(holds(one["expression"]) for one in spec["matchConditions"]):
        return []
    return [one["message"] for one in spec["validations"] if not holds(one["expression"])]


def policy_for(helm: Helm, dialect: DialectName, *, standby: bool = True) -> Object:
    settings = {"settings": {"standby": standby, "idle_deployments": standby}}
    observer = {"observer": {"enabled": standby}}
    objects = helm.objects(merged(EVERYTHING, settings | observer))
    name = f"{NAMESPACE}-{NAME}-{dialect.value}"
    binding = only(objects, "ValidatingAdmissionPolicyBinding", name)
    assert binding["spec"] == {"policyName": name, "validationActions": ["Deny"]}
    policy = only(objects, "ValidatingAdmissionPolicy", name)
    assert policy["spec"]["failurePolicy"] == "Fail"
    return policy


def asleep(dialect: DialectName) -> Object:
    """Return a sandbox that asks to be paused, and has much else."""
    resource = DIALECTS[dialect].resource
    spec = {
        DialectName.NATIVE: {"desiredState": "Paused", "ports": [8080]},
        DialectName.KRUISE: {
            "paused": True,
            "pauseTime": "2026-01-01T00:00:00Z",
            "shutdownTime": "2026-01-01T01:00:00Z",
            "autoPausePolicy": {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}},
        },
        DialectName.AGENT_SANDBOX: {"operatingMode": "Suspended", "podTemplate": {"spec": {}}},
        DialectName.DEPLOYMENT: {"replicas": 0, "template": {"spec": {}}},
        DialectName.STATEFUL_SET: {"replicas": 0, "template": {"spec": {}}},
    }[dialect]
    return {
        "apiVersion": f"{resource.group}/{resource.version}",
        "kind": resource.kind,
        "metadata": {
            "name": "a", "namespace": "team-a", "uid": "1", "resourceVersion": "1",
            "labels": {"team": "a", **DIALECTS[dialect].required_labels},
            "annotations": {
                "example.com/owner": "a",
                "sandbox-gateway.dev/access-token-sha256": "00" * 32,
                "sandbox-gateway.dev/auto-standby": '{"enabled": false}',
                "sandbox-gateway.dev/idle-since": "2026-01-01T00:00:00Z",
            },
        },
        "spec": spec,
    }  # fmt: skip


def changed(sandbox: Object, patch: Object) -> Object:
    result: Object = json_merge_patch.merge(copy.deepcopy(sandbox), patch)
    return result


def awake(dialect: DialectName) -> Object:
    """Return it after the gateway woke it."""
    sleeper = asleep(dialect)
    wake = DIALECTS[dialect].wake_patch(sleeper, NOW)
    assert wake is not None
    return changed(sleeper, wake)


@every_dialect
@pytest.mark.parametrize("standby", [True, False])
def test_its_own_patches_are_let_through(
    helm: Helm, dialect: DialectName, *, standby: bool
) -> None:
    policy = policy_for(helm, dialect, standby=standby)
    woken = awake(dialect)
    assert woken != asleep(dialect)
    assert denials(policy, asleep(dialect), woken) == []
    patch = DIALECTS[dialect].standby_patch(woken, NOW)
    assert patch is not None
    assert (denials(policy, woken, changed(woken, patch)) == []) == standby


@pytest.mark.parametrize("standby", [True, False])
def test_the_time_of_a_pause_is_put_off_by_its_own_patch(helm: Helm, *, standby: bool) -> None:
    woken = changed(awake(DialectName.KRUISE), {"spec": {"shutdownTime": None}})
    postponed = DIALECTS[DialectName.KRUISE].postpone_patch(woken, NOW + 500.0)
    assert postponed is not None
    policy = policy_for(helm, DialectName.KRUISE, standby=standby)
    assert (denials(policy, woken, changed(woken, postponed)) == []) == standby


@every_dialect
@pytest.mark.parametrize("standby", [True, False])
@pytest.mark.parametrize(
    "annotations",
    [
        {own.LAST_ACTIVITY_AT: "2026-01-01T00:00:00Z"},
        {own.IDLE_SINCE: None},
        {own.PINNED: "true"},
        {own.HOLD_UNTIL: "2026-01-01T00:00:00Z", own.IDLE_SINCE: "2026-01-01T01:00:00Z"},
    ],
)
def test_what_it_notes_for_itself_may_change_where_it_puts_sandboxes_to_sleep(
    helm: Helm, dialect: DialectName, annotations: Object, *, standby: bool
) -> None:
    old = asleep(dialect)
    new = changed(old, {"metadata": {"annotations": annotations}})
    assert new != old
    told = denials(policy_for(helm, dialect, standby=standby), old, new)
    assert (told == []) == standby
    assert standby or "change none" in told[0]


@every_dialect
@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"spec": {"process": {"command": ["sh"]}}}, "Of spec"),
        ({"spec": None}, "Of spec"),
        ({"metadata": {"annotations": {"example.com/owner": "b"}}}, "Of annotations"),
        ({"metadata": {"annotations": {"example.com/owner": None}}}, "Of annotations"),
        ({"metadata": {"annotations": {"example.com/new": "b"}}}, "Of annotations"),
        ({"metadata": {"annotations": None}}, "Of annotations"),
        ({"metadata": {"annotations": {own.TOKEN_SHA256: "ff"}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.TOKEN_SHA256: None}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.PORTS: "22"}}}, "Of annotations"),
        ({"metadata": {"annotations": {SERVICE: "other"}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.UPSTREAM_TLS: "false"}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.WAKE_ON_TRAFFIC: "true"}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.AUTO_STANDBY: '{"enabled": true}'}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.AUTO_STANDBY: None}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.ALWAYS_ON: "false"}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.STANDBY_CHECK: "1"}}}, "Of annotations"),
        ({"metadata": {"annotations": {own.PREFIX + "scaling-bounds": "{}"}}}, "Of annotations"),
        ({"metadata": {"labels": {"team": "b"}}}, "labels"),
        ({"metadata": {"labels": None}}, "labels"),
        ({"metadata": {"finalizers": ["example.com/hold"]}}, "finalizers"),
        ({"metadata": {"ownerReferences": [{"name": "a", "uid": "2"}]}}, "ownerReferences"),
    ],
)
def test_anything_else_is_denied_to_it_and_to_nobody_else(
    helm: Helm, dialect: DialectName, patch: Object, said: str
) -> None:
    policy, old = policy_for(helm, dialect), asleep(dialect)
    new = changed(old, patch)
    assert any(said in message for message in denials(policy, old, new))
    assert denials(policy, old, new, user="system:serviceaccount:team-a:operator") == []


@every_dialect
def test_what_the_author_wrote_into_spec_may_not_change(helm: Helm, dialect: DialectName) -> None:
    policy, old = policy_for(helm, dialect), asleep(dialect)
    hostile = {"spec": {"hostPID": True}}
    fields = {"ports": [22], "autoPausePolicy": None, "podTemplate": hostile, "template": hostile}
    for field in fields.keys() & old["spec"].keys():
        (message,) = denials(policy, old, changed(old, {"spec": {field: fields[field]}}))
        assert "Of spec" in message


@pytest.mark.parametrize("standby", [True, False])
@pytest.mark.parametrize(
    ("dialect", "spec", "allowed"),
    [
        (DialectName.NATIVE, {"desiredState": "Terminated"}, False),
        (DialectName.NATIVE, {"desiredState": None}, True),  # The API fills in Running.
        (DialectName.KRUISE, {"paused": None}, True),
        (DialectName.KRUISE, {"paused": "false"}, False),
        (DialectName.AGENT_SANDBOX, {"operatingMode": "Hibernated"}, False),
        (DialectName.AGENT_SANDBOX, {"replicas": 2}, False),
        (DialectName.AGENT_SANDBOX, {"replicas": 1}, True),
        (DialectName.DEPLOYMENT, {"replicas": 2}, False),
        (DialectName.STATEFUL_SET, {"replicas": None}, False),
        (DialectName.STATEFUL_SET, {"replicas": -1}, False),
    ],
)
def test_a_sleeper_may_be_asked_to_run_and_for_nothing_else(
    helm: Helm, dialect: DialectName, spec: Object, *, allowed: bool, standby: bool
) -> None:
    policy, old = policy_for(helm, dialect, standby=standby), asleep(dialect)
    assert (denials(policy, old, changed(old, {"spec": spec})) == []) == allowed


@pytest.mark.parametrize(
    ("before", "after", "wakes", "allowed"),
    [
        ("2026-01-01T01:00:00Z", "2026-01-01T02:00:00+00:00", False, True),
        ("2026-01-01T01:00:00Z", "2026-01-01T00:59:59Z", False, False),
        ("2026-01-01T01:00:00Z", None, False, False),
        (None, "2026-01-01T01:00:00Z", False, False),
        (None, None, False, True),
        # A wake begins its time anew, or lets it run without end where its rule names no time.
        ("2026-01-01T01:00:00Z", "2026-01-01T00:59:59Z", True, True),
        ("2026-01-01T01:00:00Z", None, True, True),
        (None, "2026-01-01T01:00:00Z", True, False),
    ],
)
def test_the_pause_of_a_sandbox_may_be_put_off(
    helm: Helm, before: str | None, after: str | None, *, wakes: bool, allowed: bool
) -> None:
    old = changed(asleep(DialectName.KRUISE), {"spec": {"paused": wakes, "pauseTime": before}})
    new = changed(old, {"spec": {"paused": False, "pauseTime": after}})
    told = denials(policy_for(helm, DialectName.KRUISE), old, new)
    assert (told == []) == allowed
    assert allowed or "pauseTime" in told[0]
    if before != after and not wakes:
        # Who puts nothing to sleep has no business with it but to wake.
        assert denials(policy_for(helm, DialectName.KRUISE, standby=False), old, new)


@workloads
@pytest.mark.parametrize(
    ("count", "wanted", "allowed"),
    [
        (None, 1, True),
        (None, 2, False),
        ("3", 3, True),
        ("3", 1, True),
        ("3", 4, False),
        ("three", 1, True),
        ("three", 3, False),
        ("0", 1, True),
        ("9" * 40, 1, True),
    ],
)
def test_a_workload_gets_the_replicas_that_its_annotation_says(
    helm: Helm, dialect: DialectName, count: str | None, wanted: int, *, allowed: bool
) -> None:
    old = changed(asleep(dialect), {"metadata": {"annotations": {REPLICAS: count}}})
    new = changed(old, {"spec": {"replicas": wanted}})
    for standby in (True, False):
        told = denials(policy_for(helm, dialect, standby=standby), old, new)
        assert (told == []) == allowed
        assert allowed or "as many as its annotation says" in told[0]


@workloads
def test_a_workload_that_runs_is_scaled_to_zero_or_left_alone(
    helm: Helm, dialect: DialectName
) -> None:
    wide = {"spec": {"replicas": 3}, "metadata": {"annotations": {REPLICAS: "2"}}}
    old = changed(asleep(dialect), wide)
    for standby in (True, False):
        policy = policy_for(helm, dialect, standby=standby)
        for replicas in range(5):
            told = denials(policy, old, changed(old, {"spec": {"replicas": replicas}}))
            assert (told == []) == (replicas == 3 or (replicas == 0 and standby))


@workloads
@pytest.mark.parametrize(
    ("replicas", "noted", "allowed"),
    [(0, "3", True), (0, "4", False), (3, "3", False), (3, "1000", False), (3, None, False)],
)
def test_the_number_of_replicas_is_noted_by_who_takes_them_away(
    helm: Helm, dialect: DialectName, replicas: int, noted: str | None, *, allowed: bool
) -> None:
    wide = {"spec": {"replicas": 3}, "metadata": {"annotations": {REPLICAS: "2"}}}
    old = changed(asleep(dialect), wide)
    patch = {"spec": {"replicas": replicas}, "metadata": {"annotations": {REPLICAS: noted}}}
    told = denials(policy_for(helm, dialect), old, changed(old, patch))
    assert (told == []) == allowed
    assert allowed or "only what it takes away" in told[0]
    assert denials(policy_for(helm, dialect, standby=False), old, changed(old, patch))


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        ("2026-01-01T01:00:00Z", "2026-01-01T02:00:00+00:00", True),
        ("2026-01-01T01:00:00Z", "2026-01-01T00:59:59Z", False),
        ("2026-01-01T01:00:00Z", None, False),
        (None, "2026-01-01T01:00:00Z", False),
        (None, None, True),
    ],
)
def test_the_end_of_a_sandbox_may_only_be_put_off(
    helm: Helm, before: str | None, after: str | None, *, allowed: bool
) -> None:
    old = changed(asleep(DialectName.KRUISE), {"spec": {"shutdownTime": before}})
    for standby in (True, False):
        policy = policy_for(helm, DialectName.KRUISE, standby=standby)
        woken = changed(old, {"spec": {"shutdownTime": after, "paused": False}})
        told = denials(policy, old, woken)
        assert (told == []) == allowed
        assert allowed or "shutdownTime" in told[0]
        # To be used makes no sandbox live longer.
        told = denials(policy, old, changed(old, {"spec": {"shutdownTime": after}}))
        assert (told == []) == (before == after)


@workloads
@pytest.mark.parametrize("labels", [None, {"team": "a"}, {ENABLED_LABEL: "false"}])
def test_a_workload_that_did_not_opt_in_may_not_be_changed_at_all(
    helm: Helm, dialect: DialectName, labels: Object | None
) -> None:
    old = asleep(dialect)
    old["metadata"]["labels"] = labels
    if labels is None:
        del old["metadata"]["labels"]
    (message,) = denials(policy_for(helm, dialect), old, changed(old, {"spec": {"replicas": 1}}))
    assert ENABLED_LABEL in message


@every_dialect
def test_the_status_may_not_change(helm: Helm, dialect: DialectName) -> None:
    policy, old = policy_for(helm, dialect), asleep(dialect)
    new = changed(old, {"status": {"phase": "Running", "podIP": "10.0.0.9"}})
    (message,) = denials(policy, old, new, subresource="status")
    assert "status" in message
