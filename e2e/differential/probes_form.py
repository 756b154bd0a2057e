"""Probes of the forms of answers, of documents, and of HTTP itself."""

from __future__ import annotations

from typing import Any, Final

from .probe import JSON, WIDGETS, Probe, probe, said, sandbox

_META: Final = "v=v1;g=meta.k8s.io"
_TABLE: Final = f"application/json;as=Table;{_META}"
_PARTIAL: Final = f"application/json;as=PartialObjectMetadata;{_META}"
_PARTIAL_LIST: Final = f"application/json;as=PartialObjectMetadataList;{_META}"
_RAW: Final = "/apis/sandbox-gateway.dev/v1alpha1"


@probe
def tables_are_printed(api: Probe) -> None:
    api.create("a", metadata={"labels": {"x": "1"}})
    api.change("a", {"status": {"phase": "Running", "podIP": "10.0.0.1"}}, "/status")
    api.create("b")
    headers = {"Accept": _TABLE}
    api.ask("one", "GET", "a", headers=headers)
    api.ask("many", "GET", "", headers=headers)
    api.ask("a page", "GET", "", headers=headers, params={"limit": 1})
    for include in ("None", "Object", "Metadata", "none", "Nonsense"):
        api.ask(
            f"include {include}", "GET", "a", headers=headers, params={"includeObject": include}
        )
    api.ask("none", "GET", "", headers=headers, params={"labelSelector": "no=thing"})
    api.ask("not found", "GET", "c", headers=headers)
    api.ask("made", "POST", "", headers=headers, json=sandbox("c"))
    api.ask("changed", "PATCH", "c", headers={"Accept": _TABLE}, patch={"spec": {"ports": [1]}})
    api.ask("deleted", "DELETE", "c", headers=headers)
    api.ask("all deleted", "DELETE", "", headers=headers)


@probe
def columns_are_read_from_objects(api: Probe) -> None:
    path = api.path(WIDGETS, "widgets")
    specs: dict[str, dict[str, Any]] = {
        "empty": {},
        "full": {
            "size": 3,
            "weight": 2.5,
            "sealed": False,
            "since": "2001-01-01T00:00:00Z",
            "parts": [{"name": "x"}, {"name": "ready", "count": 5}],
        },
        "whole": {"weight": 3},
        "null": {"sealed": None},
    }
    for name, spec in specs.items():
        body = {"apiVersion": WIDGETS, "kind": "Widget", "metadata": {"name": name}, "spec": spec}
        said(api.send("POST", path, json=body))
    api.ask("rows", "GET", path, headers={"Accept": _TABLE}, params={"includeObject": "None"})
    lease = api.path("coordination.k8s.io/v1", "leases")
    said(
        api.send("POST", lease, json={"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}})
    )
    api.ask("leases", "GET", lease, headers={"Accept": _TABLE}, params={"includeObject": "None"})
    events = api.path("v1", "events")
    api.ask("events", "GET", events, headers={"Accept": _TABLE}, params={"includeObject": "None"})


@probe
def metadata_alone_is_given(api: Probe) -> None:
    api.create("a", metadata={"labels": {"x": "1"}, "annotations": {"y": "2"}})
    api.ask("one", "GET", "a", headers={"Accept": _PARTIAL})
    api.ask("many", "GET", "", headers={"Accept": _PARTIAL_LIST})
    api.ask("many as one", "GET", "", headers={"Accept": _PARTIAL})
    api.ask("one as many", "GET", "a", headers={"Accept": _PARTIAL_LIST})
    api.ask("or json", "GET", "a", headers={"Accept": f"{_PARTIAL},application/json"})
    with api.watch(accept=_PARTIAL) as watch:
        watch.until_named("watched", "a")
    api.ask("changed", "PATCH", "a", headers={"Accept": _PARTIAL}, patch={"spec": {"ports": [1]}})


@probe
def what_is_accepted_decides(api: Probe) -> None:
    api.create("a")
    accepts = (
        JSON,
        "*/*",
        "application/*",
        "text/html",
        "text/html, */*;q=0.1",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/vnd.kubernetes.protobuf,application/json",
        f"{_TABLE},application/json",
        "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        "application/json;as=Nonsense;v=v1;g=meta.k8s.io",
        "application/json;q=0",
        "application/json;q=0,*/*",
        "application/json;charset=utf-8",
        "application/json;v=v2",
        "APPLICATION/JSON",
        "nonsense",
        "application/json;pretty=1",
        "application/cbor",
        "application/json;as=Table",
        "",
        "application/json;as=Table;v=v1;g=meta.k8s.io;q=0.5,application/json",
    )
    for accept in accepts:
        answer = api.send("GET", "a", headers={"Accept": accept})
        kind = answer.headers["Content-Type"]
        said_kind = answer.json().get("kind") if kind.startswith(JSON) else "-"
        api.note(accept, [answer.status_code, kind, said_kind])
    api.ask("not acceptable", "GET", "a", headers={"Accept": "text/html"})
    api.ask("not acceptable list", "GET", "", headers={"Accept": "text/html"})
    api.ask(
        "not acceptable creation", "POST", "", json=sandbox("x"), headers={"Accept": "text/html"}
    )
    api.note("is it there", api.send("GET", "x").status_code)
    api.ask(
        "not acceptable watch",
        "GET",
        "",
        params={"watch": "1", "timeoutSeconds": "1"},
        headers={"Accept": "text/html"},
    )
    api.ask(
        "a table of an event stream",
        "GET",
        "",
        params={"watch": "1", "timeoutSeconds": "1"},
        headers={"Accept": "application/json;stream=watch"},
    )


@probe
def discovery(api: Probe) -> None:
    core = api.send("GET", "/api").json()
    api.note("core versions", {k: v for k, v in core.items() if k != "serverAddressByClientCIDRs"})
    groups = api.send("GET", "/apis").json()
    api.note("groups", {k: v for k, v in groups.items() if k != "groups"})
    ours = [
        one
        for one in groups["groups"]
        if one["name"] in ("sandbox-gateway.dev", "coordination.k8s.io")
    ]
    api.note("our groups", sorted(ours, key=lambda one: str(one["name"])))
    api.ask("group", "GET", "/apis/sandbox-gateway.dev")
    api.ask("group with a slash", "GET", "/apis/sandbox-gateway.dev/")
    api.ask("resources", "GET", _RAW)
    api.ask("widgets", "GET", f"/apis/{WIDGETS}")
    api.note("leases", _of(api, "/apis/coordination.k8s.io/v1", "leases"))
    api.note("events", _of(api, "/api/v1", "events"))
    api.note("namespaces", _of(api, "/api/v1", "namespaces"))
    api.ask("no group", "GET", "/apis/nothing.dev")
    api.ask("no version", "GET", "/apis/sandbox-gateway.dev/v9")
    api.ask("no core version", "GET", "/api/v9")
    api.ask("posted", "POST", "/apis", json={})
    api.ask("resources posted", "POST", _RAW, json={})


def _of(api: Probe, path: str, name: str) -> object:
    listed = api.send("GET", path).json()
    return [
        {k: v for k, v in one.items() if k != "storageVersionHash"}
        for one in listed["resources"]
        if one["name"].split("/")[0] == name
    ]


@probe
def aggregated_discovery(api: Probe) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    for path in ("/api", "/apis"):
        answer = api.send("GET", path, headers={"Accept": f"{accept},application/json"})
        api.note(path, [answer.status_code, answer.headers["Content-Type"], answer.json()["kind"]])
    groups = api.send("GET", "/apis", headers={"Accept": accept})
    ours = [
        one
        for one in groups.json().get("items", [])
        if one["metadata"]["name"] == "sandbox-gateway.dev"
    ]
    api.note("our group", ours)


@probe
def documents(api: Probe) -> None:
    found = api.send("GET", "/version").json()
    api.note("version", {"major": found["major"], "fields": sorted(found)})
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping", "/livez/nothing"):
        api.ask(path, "GET", path)
    api.note(
        "v2",
        sorted(set(api.send("GET", "/openapi/v2").json()) - {"security", "securityDefinitions"}),
    )
    root = api.send("GET", "/openapi/v3").json()["paths"]
    api.note("v3", _RAW.removeprefix("/") in root)
    address = root[_RAW.removeprefix("/")]["serverRelativeURL"].split("?")[0]
    api.note("address", address)
    schema = api.send("GET", address).json()["components"]["schemas"][
        "dev.sandbox-gateway.v1alpha1.Sandbox"
    ]
    api.note("schema", {k: v for k, v in schema.items() if k != "properties"})
    api.note("spec", schema["properties"]["spec"])
    api.ask("root", "GET", "/metrics-of-nothing")
    api.note("metrics", api.send("GET", "/metrics").status_code)
    api.note("root paths", api.send("GET", "/").status_code)


@probe
def what_is_not_there(api: Probe) -> None:
    api.create("a")
    core = f"/api/v1/namespaces/{api.namespace}"
    for path in (
        "/nothing",
        "/apis/nothing.dev/v1/things",
        f"{_RAW}/things",
        f"{_RAW}/namespaces/x/things",
        f"/apis/sandbox-gateway.dev/v2/namespaces/{api.namespace}/sandboxes",
        f"{core}/things",
        "/api/v1/things",
        "/api/v2/pods",
    ):
        api.ask(path.replace(api.namespace, "own"), "GET", path)
        api.ask(f"posted {path.replace(api.namespace, 'own')}", "POST", path, json={})
    for method in ("PUT", "POST", "PATCH", "DELETE"):
        api.ask(
            f"{method} collection or object",
            method,
            "a" if method == "POST" else "",
            json=sandbox("a"),
            headers={"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {},
        )


@probe
def other_methods(api: Probe) -> None:
    api.create("a")
    for method in ("HEAD", "OPTIONS", "TRACE", "COPY"):
        for what, path in {"one": "a", "many": "", "absent": "b"}.items():
            api.ask(f"{method} {what}", method, path)
    api.ask("HEAD /version", "HEAD", "/version")


@probe
def spellings_of_a_path(api: Probe) -> None:
    api.create("a")
    base = api.sandboxes
    for what, path in {
        "trailing slash": f"{base}/a/",
        "trailing slash of many": f"{base}/",
        "double slash": base.replace("/sandboxes", "//sandboxes"),
        "leading double": f"/{base}/a",
        "encoded": base.replace("sandboxes", "%73andboxes"),
        "encoded slash": f"{base}%2Fa",
        "encoded name": f"{base}/%61",
        "dot": f"{base}/./a",
        "dots": f"{base}/b/../a",
        "encoded nul": f"{base}/%00",
        "encoded letter": f"{base}/%C3%A4",
        "upper": f"{base}/A",
        "bad escape": f"{base}/%zz",
        "long name": f"{base}/{'n' * 300}",
        "very long": f"{base}/{'n' * 7000}",
        "space": f"{base}/a%20b",
        "semicolon": f"{base}/a;b",
        "no namespace": base.replace(api.namespace, ""),
        "fragment": f"{base}/a%23b",
    }.items():
        answer = api.send("GET", path)
        reason = (
            answer.json().get("reason")
            if answer.headers.get("content-type", "") == JSON
            else answer.text
        )
        api.note(what, [answer.status_code, reason])


@probe
def heads_of_answers(api: Probe) -> None:
    api.create("a")
    for what, path in {"one": "a", "absent": "b", "version": "/version"}.items():
        head = api.send("GET", path).headers
        api.note(
            what,
            {
                name: head.get(name)
                for name in (
                    "cache-control",
                    "content-type",
                    "x-kubernetes-pf-flowschema-uid",
                    "audit-id",
                    "vary",
                    "strict-transport-security",
                    "server",
                    "content-encoding",
                )
            }
            | {"date": "date" in head, "length": "content-length" in head},
        )
    large = api.create("large", process={"command": ["x" * 200_000]})
    assert large
    packed = api.send("GET", "large", headers={"Accept-Encoding": "gzip"}).headers
    api.note("packed", [packed.get("content-encoding"), packed.get("vary")])
    plain = api.send("GET", "large", headers={"Accept-Encoding": "identity"}).headers
    api.note("plain", plain.get("content-encoding"))


@probe
def strangers_are_refused(api: Probe) -> None:
    for what, value in {
        "wrong": "Bearer wrong",
        "empty": "Bearer",
        "other": "Digest x",
        "none": "",
    }.items():
        api.ask(what, "GET", "", headers={"Authorization": value})
    api.ask("document", "GET", "/version", headers={"Authorization": "Bearer wrong"})
    api.ask("nothing", "GET", "/nothing", headers={"Authorization": "Bearer wrong"})


@probe
def parameters_that_are_odd(api: Probe) -> None:
    api.create("a")
    for what, params in {
        "unknown": {"more": "1"},
        "pretty": {"pretty": "true"},
        "manager": {"fieldManager": "x"},
        "timeout": {"timeout": "5s"},
        "odd timeout": {"timeout": "x"},
        "odd seconds": {"timeoutSeconds": "x"},
        "odd exact": {"exact": "x"},
    }.items():
        answer = api.send("GET", "", params=params)
        api.note(what, [answer.status_code, answer.json().get("reason")])
    answer = api.send("POST", "", json=sandbox("b"), params={"timeout": "x"})
    api.note("odd timeout of a write", [answer.status_code, answer.json().get("reason")])
