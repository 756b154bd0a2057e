"""Probes of namespaces, Events, Leases and definitions."""

from __future__ import annotations

from typing import Any

from .probe import MERGE, NAMESPACES, STRATEGIC, WIDGETS, Probe, probe, said, sandbox


@probe
def namespaces_are_there(api: Probe) -> None:
    api.create("a")
    own = f"{NAMESPACES}/{api.namespace}"
    api.ask("one", "GET", own)
    api.ask("default", "GET", f"{NAMESPACES}/default")
    api.ask("absent", "GET", f"{NAMESPACES}/absent")
    field = {"fieldSelector": f"metadata.name={api.namespace}"}
    api.ask("selected", "GET", NAMESPACES, params=field)
    label = {"labelSelector": f"kubernetes.io/metadata.name={api.namespace}"}
    api.ask("labelled", "GET", NAMESPACES, params=label)
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    api.ask("row", "GET", own, headers=headers, params={"includeObject": "None"})


@probe
def namespaces_are_made_and_go(api: Probe) -> None:
    name = f"{api.namespace}-made"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    api.ask("made", "POST", NAMESPACES, json=body)
    api.ask("again", "POST", NAMESPACES, json=body)
    api.ask("labelled", "PATCH", f"{NAMESPACES}/{name}", patch={"metadata": {"labels": {"a": "1"}}})
    api.ask("bad name", "POST", NAMESPACES, json=body | {"metadata": {"name": "A.b"}})
    api.ask("deleted", "DELETE", f"{NAMESPACES}/{name}")
    path = api.path("sandbox-gateway.dev/v1alpha1", "sandboxes", name)
    api.ask("made in one that goes", "POST", path, json=sandbox("late"))


@probe
def what_is_made_in_no_namespace(api: Probe) -> None:
    path = api.path("sandbox-gateway.dev/v1alpha1", "sandboxes", f"{api.namespace}-absent")
    api.ask("made", "POST", path, json=sandbox("lost"))
    bad = api.path("sandbox-gateway.dev/v1alpha1", "sandboxes", "Not_A.Name")
    api.ask("of no name", "POST", bad, json=sandbox("lost"))
    api.ask("listed", "GET", bad)


def _event(api: Probe, **fields: Any) -> dict[str, Any]:
    about = {
        "kind": "Sandbox",
        "name": "a",
        "namespace": api.namespace,
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "uid": "u",
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "generated-"},
        "involvedObject": about,
        "reason": "Woken",
        "message": "A request came.",
        "type": "Normal",
        "source": {"component": "probe"},
        "count": 1,
        "firstTimestamp": "2030-01-02T03:04:05Z",
        "lastTimestamp": "2030-01-02T03:04:05Z",
    } | fields


@probe
def events_are_written(api: Probe) -> None:
    path = api.path("v1", "events")
    made = api.ask("made", "POST", path, json=_event(api)).json()
    name = made["metadata"]["name"]
    api.ask("counted", "PATCH", f"{path}/{name}", patch={"count": 2})
    api.ask(
        "strategically",
        "PATCH",
        f"{path}/{name}",
        patch={"count": 3},
        headers={"Content-Type": STRATEGIC},
    )
    api.ask(
        "no type meta",
        "POST",
        path,
        json={k: v for k, v in _event(api).items() if k not in ("kind", "apiVersion")},
    )
    api.ask(
        "put without a version",
        "PUT",
        f"{path}/{name}",
        json=_event(api) | {"metadata": {"name": name}},
    )
    wrong: dict[str, dict[str, Any]] = {
        "no object": {"involvedObject": None},
        "object elsewhere": {"involvedObject": {"kind": "Sandbox", "name": "a", "namespace": "x"}},
        "object nowhere": {"involvedObject": {"kind": "Sandbox", "name": "a"}},
        "odd type": {"type": "Strange"},
        "count of a text": {"count": "x"},
        "odd time": {"firstTimestamp": "then"},
        "unknown": {"more": 1},
        "complete": {
            "eventTime": "2030-01-02T03:04:05.000001Z",
            "reportingComponent": "x.dev/y",
            "reportingInstance": "i",
            "action": "Waking",
        },
        "source of a text": {"source": "x"},
        "long message": {"message": "m" * 2000},
        "no timestamps": {"firstTimestamp": None, "lastTimestamp": None},
        "series": {"series": {"count": 2, "lastObservedTime": "2030-01-02T03:04:05.000000Z"}},
        "nothing else": {
            "reason": None,
            "message": None,
            "type": None,
            "source": None,
            "count": None,
        },
    }
    for what, fields in wrong.items():
        api.ask(what, "POST", path, json=_event(api, **fields))
    for selector in (
        "involvedObject.name=a",
        "reason=Woken",
        "type!=Normal",
        "involvedObject.kind=Sandbox",
        "message=x",
        "count=1",
        "reportingComponent=probe",
    ):
        answer = api.send("GET", path, params={"fieldSelector": selector})
        api.note(selector, [answer.status_code, len(answer.json().get("items", []))])
    named = {"fieldSelector": f"metadata.name={name}"}
    api.ask("listed", "GET", path, params=named)
    api.ask("deleted", "DELETE", f"{path}/{name}")


@probe
def events_of_the_newer_kind(api: Probe) -> None:
    path = api.path("v1", "events")
    api.ask(
        "with too little", "POST", path, json=_event(api, eventTime="2030-01-02T03:04:05.000001Z")
    )
    said(api.send("POST", path, json=_event(api)))
    api.ask("by source", "GET", path, params={"fieldSelector": "source=nothing"})


@probe
def leases_are_held(api: Probe) -> None:
    path = api.path("coordination.k8s.io/v1", "leases")
    spec = {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2030-01-02T03:04:05.000000Z",
        "renewTime": "2030-01-02T03:04:05.123456Z",
        "leaseTransitions": 0,
    }
    made = api.ask("made", "POST", path, json={"metadata": {"name": "l"}, "spec": spec}).json()
    api.ask("again", "POST", path, json={"metadata": {"name": "l"}, "spec": spec})
    renewed = made | {"spec": spec | {"renewTime": "2030-01-02T03:04:06.123456Z"}}
    api.ask("renewed", "PUT", f"{path}/l", json=renewed)
    api.ask("renewed from an old one", "PUT", f"{path}/l", json=renewed)
    api.ask("no version", "PUT", f"{path}/l", json={"metadata": {"name": "l"}, "spec": spec})
    api.ask("patched", "PATCH", f"{path}/l", patch={"spec": {"holderIdentity": "you"}})
    api.ask(
        "strategically",
        "PATCH",
        f"{path}/l",
        patch={"spec": {"holderIdentity": None}},
        headers={"Content-Type": STRATEGIC},
    )
    api.ask(
        "labels strategically",
        "PATCH",
        f"{path}/l",
        patch={"metadata": {"labels": {"a": "1"}}},
        headers={"Content-Type": STRATEGIC},
    )
    wrong: dict[str, dict[str, Any]] = {
        "no duration": {"leaseDurationSeconds": 0},
        "negative": {"leaseTransitions": -1},
        "a text": {"leaseDurationSeconds": "x"},
        "odd time": {"renewTime": "then"},
        "whole seconds": {"renewTime": "2030-01-02T03:04:05Z"},
        "unknown": {"more": 1},
        "nanoseconds": {"renewTime": "2030-01-02T03:04:05.123456789Z"},
        "empty holder": {"holderIdentity": ""},
    }
    for index, (what, fields) in enumerate(wrong.items()):
        body = {"metadata": {"name": f"wrong-{index}"}, "spec": spec | fields}
        api.ask(what, "POST", path, json=body)
    api.ask("nothing", "POST", path, json={"metadata": {"name": "nothing"}})
    api.ask("nothing wanted", "POST", path, json={"metadata": {"name": "empty"}, "spec": {}})
    api.ask("no name", "POST", path, json={"metadata": {}, "spec": spec})
    api.ask(
        "strictly",
        "POST",
        path,
        json={"metadata": {"name": "s"}, "spec": {"more": 1}},
        params={"fieldValidation": "Strict"},
    )
    api.ask(
        "other kind",
        "POST",
        path,
        json={"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "s"}},
    )
    api.ask(
        "of gates that are shut",
        "POST",
        path,
        json={"metadata": {"name": "gates"}, "spec": {"strategy": "x"}},
    )
    api.ask("listed", "GET", path)
    api.ask("deleted", "DELETE", f"{path}/l")


@probe
def lists_of_leases_are_merged(api: Probe) -> None:
    path = api.path("coordination.k8s.io/v1", "leases")
    said(api.send("POST", path, json={"metadata": {"name": "l"}}))
    finalizers = {"metadata": {"finalizers": ["a.dev/b"]}}
    api.ask(
        "finalizers strategically",
        "PATCH",
        f"{path}/l",
        patch=finalizers,
        headers={"Content-Type": STRATEGIC},
    )
    api.ask(
        "no finalizers",
        "PATCH",
        f"{path}/l",
        patch={"metadata": {"finalizers": None}},
        headers={"Content-Type": MERGE},
    )


@probe
def definitions_are_objects(api: Probe) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    answer = api.send("GET", f"{path}/widgets.differential.example.dev")
    api.note("found", answer.status_code)
    api.note("made", api.send("POST", path, json={}).status_code)


@probe
def other_resources_of_a_cluster(api: Probe) -> None:
    for path in (
        api.path("v1", "pods"),
        api.path("v1", "secrets"),
        api.path("v1", "configmaps"),
        "/api/v1/nodes",
        "/apis/apps/v1/deployments",
        "/apis/events.k8s.io/v1/events",
        "/apis/authentication.k8s.io/v1/tokenreviews",
    ):
        api.note(path.replace(api.namespace, "own"), api.send("GET", path).status_code)


@probe
def widgets_count_generations(api: Probe) -> None:
    path = api.path(WIDGETS, "widgets")
    body = {
        "apiVersion": WIDGETS,
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"color": "red"},
    }
    said(api.send("POST", path, json=body))
    api.ask("changed", "PATCH", f"{path}/w", patch={"spec": {"color": "green"}})
