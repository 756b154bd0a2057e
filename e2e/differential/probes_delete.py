"""Probes of deletions."""

from __future__ import annotations

from typing import Any

from .probe import JSON, Probe, probe, version


@probe
def deleting_tells_what_went(api: Probe) -> None:
    api.create("gone")
    api.ask("deleted", "DELETE", "gone")
    api.ask("again", "DELETE", "gone")
    api.ask("found", "GET", "gone")


@probe
def a_deletion_may_have_preconditions(api: Probe) -> None:
    made = api.create("kept")
    other = "11111111-2222-3333-4444-555555555555"
    wrong: dict[str, Any] = {
        "other uid": {"uid": other},
        "other version": {"resourceVersion": "1"},
        "both": {"uid": other, "resourceVersion": "1"},
        "a number": {"uid": 1},
        "unknown": {"name": "x"},
    }
    for what, preconditions in wrong.items():
        if what != "unknown":
            api.ask(what, "DELETE", "kept", json={"preconditions": preconditions})
    right = {"uid": made["metadata"]["uid"], "resourceVersion": version(made)}
    typed = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": right}
    api.ask("its own", "DELETE", "kept", json=typed)


@probe
def options_of_a_deletion(api: Probe) -> None:
    bodies: dict[str, Any] = {
        "background": {"propagationPolicy": "Background"},
        "orphan": {"propagationPolicy": "Orphan"},
        "foreground": {"propagationPolicy": "Foreground"},
        "nonsense": {"propagationPolicy": "Sideways"},
        "grace": {"gracePeriodSeconds": 30},
        "no-grace": {"gracePeriodSeconds": 0},
        "negative-grace": {"gracePeriodSeconds": -1},
        "grace-text": {"gracePeriodSeconds": "x"},
        "other-kind": {"kind": "Sandbox", "apiVersion": "sandbox-gateway.dev/v1alpha1"},
        "group-kind": {"kind": "DeleteOptions", "apiVersion": "sandbox-gateway.dev/v1alpha1"},
        "meta-kind": {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"},
        "dry-run": {"dryRun": ["All"]},
        "dry-run-text": {"dryRun": "All"},
        "dry-run-odd": {"dryRun": ["Some"]},
        "unknown": {"more": 1},
        "both": {"propagationPolicy": "Background", "orphanDependents": True},
        "orphan-dependents": {"orphanDependents": False},
        "empty": {},
    }
    for what, body in bodies.items():
        api.create(what)
        api.ask(what, "DELETE", what, json=body)
        api.note(f"{what} afterwards", api.send("GET", what).status_code)
    for what, params in {
        "q-policy": {"propagationPolicy": "Foreground"},
        "q-nonsense": {"propagationPolicy": "x"},
        "q-grace": {"gracePeriodSeconds": "5"},
        "q-grace-odd": {"gracePeriodSeconds": "x"},
        "q-dry": {"dryRun": "All"},
        "q-dry-odd": {"dryRun": "x"},
    }.items():
        api.create(what)
        api.ask(what, "DELETE", what, params=params)
        api.note(f"{what} afterwards", api.send("GET", what).status_code)
    api.create("bodies")
    for what, content in {"half": "{", "list": "[]", "null": "null", "text": '"x"'}.items():
        api.ask(what, "DELETE", "bodies", content=content, headers={"Content-Type": JSON})
    api.create("typed")
    api.ask("other type", "DELETE", "typed", content="x", headers={"Content-Type": "text/plain"})


@probe
def finalizers_hold_up_a_deletion(api: Probe) -> None:
    held = {"finalizers": ["a.dev/b", "a.dev/c"]}
    api.create("held", metadata=held)
    api.ask("deleted", "DELETE", "held")
    api.ask("again", "DELETE", "held")
    api.ask("with grace", "DELETE", "held", json={"gracePeriodSeconds": 10})
    api.ask("found", "GET", "held")
    api.ask(
        "one more",
        "PATCH",
        "held",
        patch={"metadata": {"finalizers": [*held["finalizers"], "a.dev/d"]}},
    )
    api.ask("spec", "PATCH", "held", patch={"spec": {"ports": [1]}})
    api.ask("status", "PATCH", "held/status", patch={"status": {"phase": "Paused"}})
    api.ask("labels", "PATCH", "held", patch={"metadata": {"labels": {"a": "1"}}})
    api.ask("no timestamp", "PATCH", "held", patch={"metadata": {"deletionTimestamp": None}})
    api.ask("one fewer", "PATCH", "held", patch={"metadata": {"finalizers": ["a.dev/c"]}})
    api.ask(
        "made anew",
        "POST",
        "",
        json={
            "apiVersion": "sandbox-gateway.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": "held"},
            "spec": {},
        },
    )
    api.ask(
        "precondition",
        "DELETE",
        "held",
        json={"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}},
    )
    api.ask("none left", "PATCH", "held", patch={"metadata": {"finalizers": []}})
    api.ask("gone", "GET", "held")
    api.create("waits", metadata=held)
    api.ask("in the foreground", "DELETE", "waits", json={"propagationPolicy": "Foreground"})
    api.create("plain")
    api.ask(
        "plain in the foreground", "DELETE", "plain", params={"propagationPolicy": "Foreground"}
    )
    api.ask("plain", "GET", "plain")


@probe
def a_collection_is_deleted(api: Probe) -> None:
    for name, labels in {"a": {"x": "1"}, "b": {"x": "1"}, "c": {}}.items():
        api.create(name, metadata={"labels": labels})
    api.create("held", metadata={"labels": {"x": "1"}, "finalizers": ["a.dev/b"]})
    api.ask("bad selector", "DELETE", "", params={"labelSelector": "a b"})
    api.ask("bad policy", "DELETE", "", json={"propagationPolicy": "Sideways"})
    api.ask("selected", "DELETE", "", params={"labelSelector": "x=1"})
    api.ask("left", "GET", "")
    api.ask("by name", "DELETE", "", params={"fieldSelector": "metadata.name=c"})
    api.ask("left then", "GET", "")
    api.change("held", {"metadata": {"finalizers": None}})
    api.ask("nothing left", "DELETE", "")
    api.create("d")
    api.create("e")
    api.ask("limited", "DELETE", "", params={"limit": 1})
    api.ask("left at last", "GET", "")
