"""Probes of objects being made: defaults, pruning, validation, names, bodies that are none."""

from __future__ import annotations

from typing import Any, Final

from .probe import JSON, WIDGETS, Probe, probe, sandbox

_LONG: Final = "n" * 254


@probe
def creating_fills_in_defaults(api: Probe) -> None:
    api.ask("bare", "POST", "", json=sandbox("bare"))
    api.ask("without a spec", "POST", "", json=_without("spec"))
    process = {"command": ["true"]}
    api.ask("nested", "POST", "", json=sandbox("nested", process=process))
    null = sandbox("null", desiredState=None, ports=None, process=None)
    api.ask("nulls", "POST", "", json=null)
    api.ask("what is stored", "GET", "null")


def _without(*fields: str) -> dict[str, Any]:
    whole = sandbox("without-" + "-".join(fields).lower())
    return {name: value for name, value in whole.items() if name not in fields}


@probe
def what_a_client_may_not_set_is_overwritten(api: Probe) -> None:
    metadata = {
        "uid": "11111111-2222-3333-4444-555555555555",
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 9,
        "generation": 77,
        "selfLink": "/nowhere",
    }
    body = sandbox("own", metadata=metadata) | {"status": {"phase": "Running"}}
    api.ask("created", "POST", "", json=body)
    api.ask("found", "GET", "own")


@probe
def a_version_of_what_is_new_is_refused(api: Probe) -> None:
    for given in ("7", "0", ""):
        body = sandbox(f"versioned-{given or 'empty'}", metadata={"resourceVersion": given})
        api.ask(f"version {given!r}", "POST", "", json=body)


@probe
def unknown_fields_are_dropped_and_told_of(api: Probe) -> None:
    for mode in ("", "Ignore", "Warn", "Strict", "strict", "Nonsense"):
        body = sandbox(f"m{mode.lower() or 'none'}{len(mode)}", prt=1, process={"command": ["x"]})
        body["spec"]["process"]["extra"] = {"deep": 1}
        body["spec"]["standby"] = {"enabled": False, "idle": "5s"}
        body["more"] = True
        body["metadata"]["colour"] = "red"
        params = {"fieldValidation": mode} if mode else {}
        api.ask(f"mode {mode or 'unset'}", "POST", "", json=body, params=params)


@probe
def fields_given_twice_are_told_of(api: Probe) -> None:
    head = '{"apiVersion":"sandbox-gateway.dev/v1alpha1","kind":"Sandbox",'
    for mode in ("Ignore", "Warn", "Strict"):
        content = (
            f'{head}"metadata":{{"name":"twice-{mode.lower()}"}},'
            '"spec":{"desiredState":"Running","desiredState":"Paused"}}'
        )
        headers = {"Content-Type": JSON}
        params = {"fieldValidation": mode}
        api.ask(mode, "POST", "", content=content, headers=headers, params=params)


@probe
def what_breaks_the_schema_is_refused_field_by_field(api: Probe) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "enum": {"desiredState": "Asleep"},
        "type": {"desiredState": 1},
        "object": {"wakeOnTraffic": []},
        "list": {"ports": "80"},
        "boolean": {"wakeOnTraffic": {"enabled": "yes"}},
        "required": {"wakeOnTraffic": {}},
        "range": {"ports": [0, 80, 65536]},
        "number": {"ports": [1.5]},
        "duplicate": {"ports": [80, 80, 81, 81]},
        "too many": {"ports": list(range(1, 66))},
        "too few": {"process": {"command": []}},
        "too short": {"process": {"command": ["x"], "cwd": ""}},
        "too long": {"wakeOnTraffic": {"enabled": True, "timeout": "1" * 33 + "s"}},
        "pattern": {"wakeOnTraffic": {"enabled": True, "timeout": "soon"}},
        "format": {"shutdownTime": "tomorrow"},
        "any of": {"standby": {"enabled": True}},
        "map value": {"process": {"command": ["x"], "env": {"A": 1}}},
        "several": {"desiredState": "Asleep", "ports": [0], "process": {}, "shutdownTime": 3},
        "null in a list": {"ports": [None]},
    }
    for what, spec in wrong.items():
        api.ask(what, "POST", "", json=sandbox("wrong", **spec))
    api.ask("spec is a text", "POST", "", json=sandbox("wrong") | {"spec": "no"})
    api.ask("spec is null", "POST", "", json=sandbox("null-spec") | {"spec": None})


@probe
def times_are_taken_as_rfc_3339_has_them(api: Probe) -> None:
    times = {
        "zulu": "2030-01-02T03:04:05Z",
        "offset": "2030-01-02T03:04:05+02:00",
        "fraction": "2030-01-02T03:04:05.123456789Z",
        "lower": "2030-01-02t03:04:05z",
        "space": "2030-01-02 03:04:05Z",
        "date": "2030-01-02",
        "no-zone": "2030-01-02T03:04:05",
        "leap": "2030-12-31T23:59:60Z",
        "hour": "2030-01-02T25:04:05Z",
        "day": "2030-02-30T03:04:05Z",
        "year": "0000-01-01T00:00:00Z",
    }
    for what, time in times.items():
        answer = api.send("POST", "", json=sandbox(f"time-{what}", shutdownTime=time))
        api.note(what, answer.status_code)


@probe
def names_are_judged(api: Probe) -> None:
    names = {
        "upper case": "Upper",
        "underscore": "a_b",
        "dots": "a.b.c",
        "dash first": "-a",
        "dash last": "a-",
        "two dots": "a..b",
        "slash": "a/b",
        "percent": "a%b",
        "long": "n" * 253,
        "too long": _LONG,
        "space": "a b",
        "letters of others": "größe",
        "digit": "1",
    }
    for what, name in names.items():
        api.ask(what, "POST", "", json=sandbox(name))
    api.ask("empty", "POST", "", json=sandbox("", metadata={"name": ""}))
    api.ask("none", "POST", "", json=sandbox())


@probe
def names_are_made(api: Probe) -> None:
    generated = {"generateName": "generated-"}
    api.ask("made", "POST", "", json=sandbox(metadata=generated))
    api.ask("name wins", "POST", "", json=sandbox("given", metadata=generated))
    api.ask("bad prefix", "POST", "", json=sandbox(metadata={"generateName": "Generated-"}))
    long = api.send("POST", "", json=sandbox(metadata={"generateName": "p" * 80})).json()
    api.note("length of a long prefix's", len(long["metadata"]["name"]))


@probe
def metadata_is_judged(api: Probe) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    wrong: dict[str, dict[str, Any]] = {
        "label key": {"labels": {"a b": "c"}},
        "label prefix": {"labels": {"Upper/x": "c"}},
        "label value": {"labels": {"a": "-c"}},
        "long label value": {"labels": {"a": "c" * 64}},
        "label of a number": {"labels": {"a": 1}},
        "label of null": {"labels": {"a": None}},
        "labels are a list": {"labels": []},
        "annotation key": {"annotations": {"a b": "c"}},
        "annotation of a number": {"annotations": {"a": 1}},
        "annotation key with upper case": {"annotations": {"Upper.dev/X": "1"}},
        "annotations too large": {"annotations": {"a": "c" * 262144}},
        "finalizer": {"finalizers": ["a b"]},
        "finalizer without a domain": {"finalizers": ["plain"]},
        "finalizer empty": {"finalizers": [""]},
        "finalizers are a text": {"finalizers": "x"},
        "owner without uid": {"ownerReferences": [owner | {"uid": ""}]},
        "owner without kind": {"ownerReferences": [{"apiVersion": "v1", "name": "p", "uid": "u"}]},
        "owner of another version": {"ownerReferences": [owner | {"apiVersion": "a/b/c"}]},
        "two controllers": {
            "ownerReferences": [owner | {"controller": True}, owner | {"controller": True}]
        },
        "owner with an unknown field": {"ownerReferences": [owner | {"more": 1}]},
        "owner is an event": {"ownerReferences": [owner | {"kind": "Event"}]},
        "owner twice": {"ownerReferences": [owner, owner]},
        "name is a number": {"name": 1},
        "generation is a text": {"generation": "1"},
        "creation is no time": {"creationTimestamp": "then"},
    }
    for index, (what, metadata) in enumerate(wrong.items()):
        api.ask(what, "POST", "", json=sandbox(f"judged-{index}", metadata=metadata))
    bodies: dict[str, object] = {"a list": [], "null": None, "a text": "x"}
    for what, odd in bodies.items():
        api.ask(f"metadata is {what}", "POST", "", json=sandbox() | {"metadata": odd})


@probe
def a_body_must_be_of_the_kind_of_its_path(api: Probe) -> None:
    api.ask(
        "other version", "POST", "", json=sandbox("x") | {"apiVersion": "sandbox-gateway.dev/v1"}
    )
    api.ask("other group", "POST", "", json=sandbox("x") | {"apiVersion": "v1"})
    api.ask("other kind", "POST", "", json=sandbox("x") | {"kind": "Sandboxes"})
    api.ask("no version", "POST", "", json=_without("apiVersion"))
    api.ask("no kind", "POST", "", json=_without("kind"))
    api.ask("neither", "POST", "", json=_without("apiVersion", "kind"))
    elsewhere = sandbox("x", metadata={"namespace": "elsewhere"})
    api.ask("other namespace", "POST", "", json=elsewhere)
    api.ask("its namespace", "POST", "", json=sandbox("x", metadata={"namespace": api.namespace}))


@probe
def a_body_that_is_none_is_refused(api: Probe) -> None:
    typed = {"Content-Type": JSON}
    bodies = {
        "empty": "",
        "half": '{"apiVersion"',
        "a list": "[]",
        "null": "null",
        "a number": "1",
        "a text": '"x"',
        "empty object": "{}",
        "two objects": "{}{}",
    }
    for what, content in bodies.items():
        api.ask(what, "POST", "", content=content, headers=typed)
        api.ask(
            f"{what}, for a lease",
            "POST",
            api.path("coordination.k8s.io/v1", "leases"),
            content=content,
            headers=typed,
        )


@probe
def the_type_of_a_body_matters(api: Probe) -> None:
    types = (
        "text/plain",
        "application/xml",
        "application/yaml",
        "application/json; charset=utf-8",
        "application/json;charset=latin-1",
        "APPLICATION/JSON",
        "application/octet-stream",
        "application/merge-patch+json",
        "nonsense",
        "",
    )
    for index, kind in enumerate(types):
        body = api.side.client.build_request("POST", "/", json=sandbox(f"typed-{index}")).content
        api.ask(f"type {kind!r}", "POST", "", content=body, headers={"Content-Type": kind})
    yaml = "apiVersion: sandbox-gateway.dev/v1alpha1\nkind: Sandbox\nmetadata: {name: of-yaml}\n"
    api.ask("yaml", "POST", "", content=yaml, headers={"Content-Type": "application/yaml"})


@probe
def a_dry_run_leaves_nothing(api: Probe) -> None:
    api.ask("created", "POST", "", json=sandbox("dry"), params={"dryRun": "All"})
    api.ask("not there", "GET", "dry")
    api.ask("wrong", "POST", "", json=sandbox("dry", ports=[0]), params={"dryRun": "All"})
    api.ask("nonsense", "POST", "", json=sandbox("dry"), params={"dryRun": "Some"})
    api.ask("empty", "POST", "", json=sandbox("empty"), params={"dryRun": ""})
    api.create("wet")
    api.ask("exists", "POST", "", json=sandbox("wet"), params={"dryRun": "All"})
    api.ask("patched", "PATCH", "wet", patch={"spec": {"ports": [1]}}, params={"dryRun": "All"})
    api.ask("deleted", "DELETE", "wet", params={"dryRun": "All"})
    api.ask("deleted by body", "DELETE", "wet", params={"dryRun": "All"})
    api.ask("all deleted", "DELETE", "", params={"dryRun": "All"})
    api.ask("still there", "GET", "wet")


@probe
def a_name_is_taken_once(api: Probe) -> None:
    api.create("taken")
    api.ask("again", "POST", "", json=sandbox("taken"))
    api.ask("again, and wrong", "POST", "", json=sandbox("taken", ports=[0]))


@probe
def a_body_may_be_too_large(api: Probe) -> None:
    large = sandbox("large", process={"command": ["x" * 1_700_000]})
    api.ask("object", "POST", "", json=large)
    larger = sandbox("larger", process={"command": ["x" * 3_500_000]})
    api.ask("body", "POST", "", json=larger)


@probe
def schemas_are_held_to(api: Probe) -> None:
    path = api.path(WIDGETS, "widgets")

    def widget(name: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": WIDGETS, "kind": "Widget", "metadata": {"name": name}, "spec": spec}

    specs: dict[str, dict[str, Any]] = {
        "defaults": {"anything": {}, "parts": [{"name": "a"}]},
        "nulls": {"color": None, "sealed": None, "parts": [{"name": "a", "count": None}]},
        "enum": {"color": "blue"},
        "maximum": {"size": 10},
        "exclusive": {"weight": 0},
        "exclusive-minus": {"weight": -0.5},
        "whole-float": {"size": 2.0},
        "fraction": {"size": 2.5},
        "int32": {"size": 2**40},
        "number": {"weight": 1.5},
        "number-whole": {"weight": 3},
        "int-or-string": {"amount": "5%"},
        "int-or-string-int": {"amount": 5},
        "int-or-string-float": {"amount": 1.5},
        "int-or-string-bool": {"amount": True},
        "pattern": {"code": "a1"},
        "short": {"code": "a"},
        "long": {"code": "abcde"},
        "newline": {"code": "ab\n"},
        "properties": {"labels": {"a": "1", "b": "2", "c": "3"}},
        "preserved": {"anything": {"x": {"y": [1, None, {"z": None}]}}},
        "known": {"anything": {"known": "x"}},
        "embedded": {
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "x": 1}}
        },
        "embedded-without": {"template": {"x": 1}},
        "embedded-bad": {
            "template": {"apiVersion": "a/b/c", "kind": "", "metadata": {"name": "A B"}}
        },
        "items-few": {"parts": []},
        "items-many": {"parts": [{"name": str(n)} for n in range(4)]},
        "items-same": {"parts": [{"name": "a"}, {"name": "a", "count": 3}]},
        "items-nameless": {"parts": [{"count": 3}]},
        "set": {"tags": ["a", "b", "a"]},
        "time": {"since": "2001-01-01T00:00:00Z"},
    }
    for what, spec in specs.items():
        api.ask(what, "POST", path, json=widget(what, **spec))
    nothing = {"apiVersion": WIDGETS, "kind": "Widget", "metadata": {"name": "no-spec"}}
    api.ask("spec is required", "POST", path, json=nothing)
