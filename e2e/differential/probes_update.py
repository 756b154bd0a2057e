"""Probes of objects being changed: PUT, the kinds of patches, status, what stays as it is."""

from __future__ import annotations

from typing import Any

from .probe import (
    APPLY,
    JSON,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    WIDGETS,
    Probe,
    probe,
    sandbox,
    version,
)


@probe
def putting_replaces(api: Probe) -> None:
    made = api.create("whole", metadata={"labels": {"a": "1"}}, ports=[1])
    changed = made | {"spec": {"desiredState": "Paused"}, "status": {"phase": "Paused"}}
    api.ask("changed", "PUT", "whole", json=changed)
    api.ask("of an old version", "PUT", "whole", json=changed)
    now = api.send("GET", "whole").json()
    api.ask("nothing changed", "PUT", "whole", json=now)
    bare = sandbox("whole", metadata={"resourceVersion": version(now)})
    api.ask("bare", "PUT", "whole", json=bare)


@probe
def putting_needs_a_version_and_the_same_object(api: Probe) -> None:
    made = api.create("same")
    api.ask("no version", "PUT", "same", json=sandbox("same"))
    api.ask("empty version", "PUT", "same", json=sandbox("same", metadata={"resourceVersion": ""}))
    api.ask("version 0", "PUT", "same", json=sandbox("same", metadata={"resourceVersion": "0"}))
    api.ask("no number", "PUT", "same", json=sandbox("same", metadata={"resourceVersion": "x"}))
    own = {"resourceVersion": version(made)}
    other = {"uid": "11111111-2222-3333-4444-555555555555"}
    api.ask("other uid", "PUT", "same", json=sandbox("same", metadata=own | other))
    api.ask("other name", "PUT", "same", json=sandbox("other", metadata=own))
    elsewhere = own | {"namespace": "elsewhere"}
    api.ask("other namespace", "PUT", "same", json=sandbox("same", metadata=elsewhere))
    nameless = sandbox("same", metadata=own)
    del nameless["metadata"]["name"]
    api.ask("no name", "PUT", "same", json=nameless)
    api.ask("absent", "PUT", "absent", json=sandbox("absent"))
    api.ask("absent, of a version", "PUT", "absent", json=sandbox("absent", metadata=own))
    api.ask("other kind", "PUT", "same", json=sandbox("same", metadata=own) | {"kind": "Pod"})
    api.ask("wrong", "PUT", "same", json=sandbox("same", metadata=own, ports=[0]))
    api.ask(
        "strict",
        "PUT",
        "same",
        json=sandbox("same", metadata=own, prt=0),
        params={"fieldValidation": "Strict"},
    )


@probe
def what_the_server_owns_stays(api: Probe) -> None:
    made = api.create("owned", metadata={"annotations": {"a": "1"}})
    metadata = made["metadata"] | {
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "generation": 77,
        "deletionGracePeriodSeconds": 5,
        "generateName": "changed-",
        "selfLink": "/nowhere",
    }
    api.ask("put", "PUT", "owned", json=made | {"metadata": metadata})
    patch = {"metadata": {"creationTimestamp": None, "generation": 99, "uid": None}}
    api.ask("patched", "PATCH", "owned", patch=patch)
    api.ask(
        "deletion asked for",
        "PATCH",
        "owned",
        patch={"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}},
    )


@probe
def a_merge_patch_merges(api: Probe) -> None:
    api.create("merged", metadata={"labels": {"a": "1", "b": "2"}}, ports=[1, 2])
    api.ask(
        "merged",
        "PATCH",
        "merged",
        patch={
            "metadata": {"labels": {"b": None, "c": "3"}},
            "spec": {"ports": [3], "desiredState": "Paused"},
        },
    )
    api.ask("nothing changed", "PATCH", "merged", patch={"spec": {"desiredState": "Paused"}})
    api.ask("empty", "PATCH", "merged", patch={})
    api.ask(
        "null brings the default back", "PATCH", "merged", patch={"spec": {"desiredState": None}}
    )
    api.ask("null of nothing", "PATCH", "merged", patch={"spec": {"shutdownTime": None}})
    api.ask("labels alone", "PATCH", "merged", patch={"metadata": {"labels": {"d": "4"}}})
    api.ask("no labels", "PATCH", "merged", patch={"metadata": {"labels": None}})
    api.ask("empty labels", "PATCH", "merged", patch={"metadata": {"labels": {}}})
    api.ask("no spec", "PATCH", "merged", patch={"spec": None})
    api.ask("no metadata", "PATCH", "merged", patch={"metadata": None})
    api.ask("absent", "PATCH", "absent", patch={"spec": {}})


@probe
def a_merge_patch_may_name_what_it_was_made_from(api: Probe) -> None:
    made = api.create("made")
    own = {"resourceVersion": version(made)}
    api.ask("its version", "PATCH", "made", patch={"metadata": own, "spec": {"ports": [1]}})
    api.ask("old version", "PATCH", "made", patch={"metadata": own, "spec": {"ports": [2]}})
    api.ask(
        "old version, no change", "PATCH", "made", patch={"metadata": own, "spec": {"ports": [1]}}
    )
    api.ask("no number", "PATCH", "made", patch={"metadata": {"resourceVersion": "x"}})
    api.ask(
        "version 0",
        "PATCH",
        "made",
        patch={"metadata": {"resourceVersion": "0"}, "spec": {"ports": [3]}},
    )
    api.ask(
        "no version",
        "PATCH",
        "made",
        patch={"metadata": {"resourceVersion": None}, "spec": {"ports": [4]}},
    )
    other = "11111111-2222-3333-4444-555555555555"
    api.ask(
        "other uid", "PATCH", "made", patch={"metadata": {"uid": other}, "spec": {"ports": [5]}}
    )
    own_uid = {"uid": made["metadata"]["uid"]}
    api.ask("its uid", "PATCH", "made", patch={"metadata": own_uid, "spec": {"ports": [6]}})
    api.ask("other name", "PATCH", "made", patch={"metadata": {"name": "other"}})
    api.ask("other namespace", "PATCH", "made", patch={"metadata": {"namespace": "elsewhere"}})
    api.ask("other kind", "PATCH", "made", patch={"kind": "Pod"})
    api.ask("other version of the kind", "PATCH", "made", patch={"apiVersion": "v1"})
    api.ask("wrong", "PATCH", "made", patch={"spec": {"ports": [0]}})
    api.ask("unknown", "PATCH", "made", patch={"spec": {"prt": 0}})
    api.ask(
        "unknown, strictly",
        "PATCH",
        "made",
        patch={"spec": {"prt": 0}},
        params={"fieldValidation": "Strict"},
    )


@probe
def a_merge_patch_that_is_none(api: Probe) -> None:
    api.create("none")
    for what, content in {
        "empty": "",
        "half": "{",
        "a list": "[]",
        "null": "null",
        "a text": '"x"',
        "a number": "1",
    }.items():
        api.ask(what, "PATCH", "none", content=content, headers={"Content-Type": MERGE})


@probe
def a_json_patch_is_applied_whole(api: Probe) -> None:
    api.create("listed", metadata={"labels": {"a": "1"}}, ports=[1, 2, 3])
    patches: dict[str, list[Any]] = {
        "add": [{"op": "add", "path": "/spec/ports/-", "value": 4}],
        "insert": [{"op": "add", "path": "/spec/ports/0", "value": 9}],
        "replace": [{"op": "replace", "path": "/spec/desiredState", "value": "Paused"}],
        "remove": [{"op": "remove", "path": "/spec/ports/0"}],
        "move": [{"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/b"}],
        "copy": [{"op": "copy", "from": "/metadata/labels/b", "path": "/metadata/labels/c"}],
        "escaped": [{"op": "add", "path": "/metadata/labels/x.dev~1y", "value": "z"}],
        "test holds": [
            {"op": "test", "path": "/spec/desiredState", "value": "Paused"},
            {"op": "replace", "path": "/spec/desiredState", "value": "Running"},
        ],
        "test fails": [
            {"op": "replace", "path": "/spec/desiredState", "value": "Paused"},
            {"op": "test", "path": "/spec/desiredState", "value": "Running"},
        ],
        "test of nothing": [{"op": "test", "path": "/spec/nothing", "value": 1}],
        "nothing to do": [],
        "remove nothing": [{"op": "remove", "path": "/spec/nothing"}],
        "no parent": [{"op": "add", "path": "/spec/no/parent", "value": 1}],
        "past the end": [{"op": "add", "path": "/spec/ports/99", "value": 1}],
        "no slash": [{"op": "add", "path": "spec", "value": 1}],
        "no path": [{"op": "add", "value": 1}],
        "no op": [{"path": "/spec/ports", "value": [1]}],
        "unknown op": [{"op": "increment", "path": "/spec/ports/0"}],
        "move without from": [{"op": "move", "path": "/spec/ports/0"}],
        "the whole removed": [{"op": "remove", "path": ""}],
        "an operation is a text": ["add"],
        "wrong": [{"op": "add", "path": "/spec/ports", "value": [0]}],
        "unknown field": [{"op": "add", "path": "/spec/prt", "value": 1}],
        "version": [{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}],
        "name": [{"op": "replace", "path": "/metadata/name", "value": "other"}],
        "status": [{"op": "add", "path": "/status", "value": {"phase": "Paused"}}],
    }
    for what, patch in patches.items():
        api.ask(what, "PATCH", "listed", patch=patch, headers={"Content-Type": JSON_PATCH})
    for what, content in {"empty": "", "half": "[", "an object": "{}", "null": "null"}.items():
        api.ask(what, "PATCH", "listed", content=content, headers={"Content-Type": JSON_PATCH})


@probe
def a_json_patch_may_be_sloppy(api: Probe) -> None:
    patches: dict[str, list[Any]] = {
        "test for null": [{"op": "test", "path": "/spec/nothing", "value": None}],
        "replace nothing": [{"op": "replace", "path": "/spec/nothing", "value": 1}],
        "negative index": [{"op": "remove", "path": "/spec/ports/-1"}],
        "leading zero": [{"op": "remove", "path": "/spec/ports/00"}],
        "no value": [{"op": "add", "path": "/spec/ports"}],
        "the whole": [{"op": "replace", "path": "", "value": {}}],
    }
    for index, (what, patch) in enumerate(patches.items()):
        api.create(f"sloppy-{index}", ports=[1, 2, 3])
        headers = {"Content-Type": JSON_PATCH}
        api.ask(what, "PATCH", f"sloppy-{index}", patch=patch, headers=headers)


@probe
def kinds_of_patches(api: Probe) -> None:
    api.create("kinds")
    for kind in (STRATEGIC, JSON, "text/plain", "application/apply-patch+json", ""):
        api.ask(
            f"type {kind!r}",
            "PATCH",
            "kinds",
            patch={"spec": {"ports": [1]}},
            headers={"Content-Type": kind},
        )
    with_charset = {"Content-Type": f"{MERGE}; charset=utf-8"}
    api.ask(
        "with a charset", "PATCH", "kinds", patch={"spec": {"ports": [2]}}, headers=with_charset
    )
    api.ask("the collection", "PATCH", "", patch={})


@probe
def server_side_apply(api: Probe) -> None:
    headers = {"Content-Type": APPLY}
    params = {"fieldManager": "probe"}
    api.ask(
        "new",
        "PATCH",
        "applied",
        patch=sandbox("applied", ports=[1]),
        headers=headers,
        params=params,
    )
    api.ask(
        "again",
        "PATCH",
        "applied",
        patch=sandbox("applied", ports=[1]),
        headers=headers,
        params=params,
    )
    api.ask("no manager", "PATCH", "applied", patch=sandbox("applied"), headers=headers)
    api.ask("no apply patch, but forced", "PATCH", "applied", patch={}, params={"force": "true"})


@probe
def fields_are_managed(api: Probe) -> None:
    made = api.create("managed")
    api.note("managers", [one["operation"] for one in made["metadata"].get("managedFields", [])])
    api.ask(
        "a manager's name", "POST", "", json=sandbox("named"), params={"fieldManager": "x" * 129}
    )


@probe
def a_generation_counts_what_is_wanted(api: Probe) -> None:
    api.create("counted")
    api.ask("labels", "PATCH", "counted", patch={"metadata": {"labels": {"a": "1"}}})
    api.ask("spec", "PATCH", "counted", patch={"spec": {"ports": [1]}})
    api.ask("the same spec", "PATCH", "counted", patch={"spec": {"ports": [1]}})
    api.ask("status", "PATCH", "counted/status", patch={"status": {"phase": "Paused"}})
    api.ask("finalizers", "PATCH", "counted", patch={"metadata": {"finalizers": ["a.dev/b"]}})
    api.ask("deletion", "DELETE", "counted")
    api.ask("spec while it goes", "PATCH", "counted", patch={"spec": {"ports": [2]}})


@probe
def a_status_is_apart(api: Probe) -> None:
    made = api.create("apart")
    api.ask("asked for", "GET", "apart/status")
    both = {"spec": {"desiredState": "Paused"}, "status": {"phase": "Paused"}}
    api.ask("both, to the object", "PATCH", "apart", patch=both)
    api.ask("both, to the status", "PATCH", "apart/status", patch=both | {"spec": {"ports": [7]}})
    labelled = {
        "metadata": {"labels": {"a": "1"}, "annotations": {"b": "2"}, "finalizers": ["a.dev/b"]}
    }
    api.ask("metadata, to the status", "PATCH", "apart/status", patch=labelled)
    api.ask("the same", "PATCH", "apart/status", patch={"status": {"phase": "Paused"}})
    other = {"metadata": {"uid": "11111111-2222-3333-4444-555555555555"}}
    api.ask("other uid", "PATCH", "apart/status", patch=other | {"status": {"phase": "Failed"}})
    old = {"metadata": {"resourceVersion": version(made)}}
    api.ask("old version", "PATCH", "apart/status", patch=old | {"status": {"phase": "Failed"}})
    api.ask("old put", "PUT", "apart/status", json=made | {"status": {"phase": "Running"}})
    now = api.send("GET", "apart").json()
    api.ask(
        "put",
        "PUT",
        "apart/status",
        json=now | {"status": {"phase": "Running", "odd": 1}, "spec": {}},
    )
    now = api.send("GET", "apart").json()
    api.ask(
        "put of none", "PUT", "apart/status", json={k: v for k, v in now.items() if k != "status"}
    )
    api.ask(
        "no version", "PUT", "apart/status", json=sandbox("apart") | {"status": {"phase": "Failed"}}
    )
    api.ask("wrong", "PATCH", "apart/status", patch={"status": {"phase": 1}})
    api.ask("wrong spec", "PATCH", "apart/status", patch={"spec": {"ports": [0]}})
    conditions = [{"type": "Ready", "status": "Maybe"}, {"type": "Ready", "status": "True"}]
    api.ask(
        "wrong conditions", "PATCH", "apart/status", patch={"status": {"conditions": conditions}}
    )
    api.ask("no status", "PATCH", "apart/status", patch={"status": None})
    operations = [{"op": "add", "path": "/status", "value": {"phase": "Paused"}}]
    api.ask(
        "json patch",
        "PATCH",
        "apart/status",
        patch=operations,
        headers={"Content-Type": JSON_PATCH},
    )
    api.ask("created", "POST", "apart/status", json=made)
    api.ask("deleted", "DELETE", "apart/status")
    api.ask("of nothing", "GET", "nothing/status")
    api.ask("other subresource", "GET", "apart/scale")
    api.ask("other subresource put", "PUT", "apart/scale", json={})
    api.ask("yet another", "GET", "apart/status/more")


@probe
def without_a_status_subresource_it_is_a_field(api: Probe) -> None:
    path = api.path(WIDGETS, "widgets")
    body = {
        "apiVersion": WIDGETS,
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"color": "red"},
    }
    api.ask("made", "POST", path, json=body | {"status": {"a": 1}})
    api.ask("status", "GET", f"{path}/w/status")
    api.ask("patched", "PATCH", f"{path}/w", patch={"spec": {"size": 3}})


@probe
def an_update_may_break_nothing_anew(api: Probe) -> None:
    api.create("ratchet", metadata={"finalizers": ["a.dev/b"]})
    api.ask("finalizer", "PATCH", "ratchet", patch={"metadata": {"finalizers": ["a b"]}})
    api.ask("label", "PATCH", "ratchet", patch={"metadata": {"labels": {"a b": "1"}}})
    api.ask("label of a number", "PATCH", "ratchet", patch={"metadata": {"labels": {"a": 1}}})
    api.ask("labels of a text", "PATCH", "ratchet", patch={"metadata": {"labels": "a"}})
