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

from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.deployment import DEPLOYMENT, ENABLED_LABEL, STATEFUL_SET
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.settings import DialectName
from tests.chart.helm import NAME, NAMESPACE, Helm, Object, of_kind, only
from tests.chart.values import EVERYTHING, minimal

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}"
VERBS = ["get", "list", "watch", "patch"]
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}
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
    assert not of_kind(objects, "Role", "RoleBinding")
    (role,) = of_kind(objects, "ClusterRole")
    places = PLACES if dialect in WORKLOADS else []
    assert role["rules"] == [sandboxes(dialect), *places, EVENTS]
    (binding,) = of_kind(objects, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]


def test_in_some_namespaces_there_is_a_role_in_each_and_none_for_the_cluster(helm: Helm) -> None:
    objects = helm.objects(EVERYTHING)
    assert not of_kind(objects, "ClusterRole", "ClusterRoleBinding")
    roles, bindings = of_kind(objects, "Role"), of_kind(objects, "RoleBinding")
    for found in (roles, bindings):
        assert [one["metadata"]["namespace"] for one in found] == ["team-a", "team-b"]
    wanted = [*(sandboxes(dialect) for dialect in DialectName), *PLACES]
    for role in roles:
        assert role["rules"][-1] == EVENTS
        assert sorted(role["rules"][:-1], key=str) == sorted(wanted, key=str)


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

    def holds(expression: str) -> bool:
        inlined = re.sub(r"variables\.(\w+)", lambda name: f"({variables[name[1]]})", expression)
        result = ENVIRONMENT.compile(inlined).eval(data=data).value()
        assert isinstance(result, bool), result
        return result

    if not all(holds(one["expression"]) for one in spec["matchConditions"]):
        return []
    return [one["message"] for one in spec["validations"] if not holds(one["expression"])]


def policy_for(helm: Helm, dialect: DialectName) -> Object:
    objects = helm.objects(EVERYTHING)
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
                "sandbox-gateway.dev/idle-since": "2026-01-01T00:00:00Z",
            },
        },
        "spec": spec,
    }  # fmt: skip


def changed(sandbox: Object, patch: Object) -> Object:
    result: Object = json_merge_patch.merge(copy.deepcopy(sandbox), patch)
    return result


@every_dialect
def test_the_gateways_own_patches_are_let_through(helm: Helm, dialect: DialectName) -> None:
    policy, sleeper = policy_for(helm, dialect), asleep(dialect)
    wake = DIALECTS[dialect].wake_patch(sleeper, 1_800_000_000.0)
    assert wake is not None
    woken = changed(sleeper, wake)
    assert woken != sleeper
    assert denials(policy, sleeper, woken) == []
    standby = DIALECTS[dialect].standby_patch(woken, 1_800_000_000.0)
    assert standby is not None
    assert denials(policy, woken, changed(woken, standby)) == []


OURS = "sandbox-gateway.dev/"


@every_dialect
@pytest.mark.parametrize(
    "annotations",
    [{OURS + "last-activity-at": "2026-01-01T00:00:00Z"}, {OURS + "idle-since": None}],
)
def test_its_own_annotations_may_change(
    helm: Helm, dialect: DialectName, annotations: Object
) -> None:
    old = asleep(dialect)
    new = changed(old, {"metadata": {"annotations": annotations}})
    assert new != old
    assert denials(policy_for(helm, dialect), old, new) == []


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
        ({"metadata": {"annotations": {OURS + "access-token-sha256": "ff"}}}, "Of annotations"),
        ({"metadata": {"annotations": {OURS + "access-token-sha256": None}}}, "Of annotations"),
        ({"metadata": {"annotations": {OURS + "ports": "22"}}}, "Of annotations"),
        ({"metadata": {"annotations": {OURS + "service": "other"}}}, "Of annotations"),
        ({"metadata": {"annotations": {OURS + "upstream-tls": "false"}}}, "Of annotations"),
        ({"metadata": {"annotations": {OURS + "wake-on-traffic": "true"}}}, "Of annotations"),
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
    new = changed(old, {"spec": {"shutdownTime": after, "paused": False}})
    told = denials(policy_for(helm, DialectName.KRUISE), old, new)
    assert (told == []) == allowed
    assert allowed or "shutdownTime" in told[0]


@pytest.mark.parametrize("dialect", WORKLOADS, ids=lambda one: one.value)
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
