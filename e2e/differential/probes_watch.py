"""Probes of watches: where they begin, what they select, how they end."""

from __future__ import annotations

from typing import Final

from .probe import Probe, probe, said, version

_END: Final = "the-end"
_TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"


@probe
def a_watch_replays_what_followed(api: Probe) -> None:
    then = version(api.create("a"))
    api.change("a", {"spec": {"ports": [1]}})
    api.change("a", {"spec": {"ports": [1]}})
    api.change("a", {"status": {"phase": "Paused"}}, "/status")
    api.send("DELETE", "a")
    api.create(_END)
    with api.watch(resourceVersion=then) as watch:
        watch.until_named("events", _END)


@probe
def a_watch_of_no_version_begins_with_what_is(api: Probe) -> None:
    api.create("a")
    api.create("b")
    for what, params in {"unset": {}, "zero": {"resourceVersion": "0"}}.items():
        with api.watch(**params) as watch:
            found = [next(watch.lines), next(watch.lines)]
            api.note(f"{what}: both at first", sorted("ADDED" in line for line in found))
            api.create(f"{_END}-{what}")
            watch.until_named(what, f"{_END}-{what}")


@probe
def a_watch_selects(api: Probe) -> None:
    then = version(api.create("a", metadata={"labels": {"in": "yes"}}))
    api.create("b")
    api.change("b", {"metadata": {"labels": {"in": "yes"}}})
    api.change("b", {"spec": {"ports": [1]}})
    api.change("b", {"metadata": {"labels": {"in": "no"}}})
    api.change("b", {"spec": {"ports": [2]}})
    api.change("b", {"metadata": {"labels": {"in": "yes"}}})
    api.send("DELETE", "b")
    api.send("DELETE", "a")
    api.create(_END, metadata={"labels": {"in": "yes"}})
    with api.watch(resourceVersion=then, labelSelector="in=yes") as watch:
        watch.until_named("by label", _END)
    with api.watch(resourceVersion=then, fieldSelector=f"metadata.name={_END}") as watch:
        watch.until_named("by name", _END)


@probe
def one_object_is_watched(api: Probe) -> None:
    then = version(api.create("one"))
    api.change("one", {"spec": {"ports": [1]}})
    api.create("other")
    api.change("one", {"spec": {"ports": [2]}})
    field = {"fieldSelector": "metadata.name=one"}
    with api.watch(resourceVersion=then, **field) as watch:
        watch.events("by its name", lambda event: event["object"]["spec"].get("ports") == [2])
    api.ask("by its path", "GET", "one", params={"watch": "1"})


@probe
def finalizers_are_seen_in_a_watch(api: Probe) -> None:
    then = version(api.create("held", metadata={"finalizers": ["a.dev/b"]}))
    api.send("DELETE", "held")
    api.change("held", {"metadata": {"finalizers": None}})
    api.create(_END)
    with api.watch(resourceVersion=then) as watch:
        watch.until_named("events", _END)


@probe
def a_watch_ends_when_its_time_is_up(api: Probe) -> None:
    api.create("a")
    with api.watch(timeoutSeconds="1") as watch:
        watch.to_the_end("without bookmarks")
    with api.watch(timeoutSeconds="1", allowWatchBookmarks="true") as watch:
        watch.to_the_end("with bookmarks")


@probe
def a_watch_may_begin_with_a_list(api: Probe) -> None:
    api.create("a")
    wanted = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    with api.watch(**wanted) as watch:
        watch.events("initial", lambda event: event["type"] in ("BOOKMARK", "ERROR"))
        api.create("b")
        watch.until_named("then", "b")
    with api.watch(**wanted | {"resourceVersion": "0", "labelSelector": "no=thing"}) as watch:
        watch.events("nothing", lambda event: event["type"] in ("BOOKMARK", "ERROR"))
    now = version(said(api.send("GET", "")))
    with api.watch(**wanted | {"resourceVersion": now}) as watch:
        watch.events("of a version", lambda event: event["type"] in ("BOOKMARK", "ERROR"))
    with api.watch(**wanted | {"sendInitialEvents": "false", "resourceVersion": now}) as watch:
        api.create("c")
        watch.until_named("none at first", "c")


@probe
def beginnings_that_do_not_go_together(api: Probe) -> None:
    wrong: dict[str, dict[str, str]] = {
        "no match": {"sendInitialEvents": "true"},
        "exact": {"sendInitialEvents": "true", "resourceVersionMatch": "Exact"},
        "match alone": {"resourceVersionMatch": "NotOlderThan"},
        "match of a version": {"resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"},
        "no bookmarks": {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"},
        "not true": {"sendInitialEvents": "maybe", "resourceVersionMatch": "NotOlderThan"},
        "no version": {"resourceVersion": "x"},
        "negative": {"resourceVersion": "-1"},
        "selector": {"labelSelector": "a b"},
        "field": {"fieldSelector": "spec.x=1"},
        "timeout": {"timeoutSeconds": "x"},
        "continue": {"continue": "x"},
        "limit": {"limit": "1"},
    }
    for what, params in wrong.items():
        api.ask(what, "GET", "", params={"watch": "1", "timeoutSeconds": "1"} | params)
    api.ask(
        "of a list",
        "GET",
        "",
        params={"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"},
    )


@probe
def what_turns_a_list_into_a_watch(api: Probe) -> None:
    for value in ("0", "false", "False", "1", "yes"):
        answer = api.send("GET", "", params={"watch": value, "timeoutSeconds": "1"})
        api.note(f"watch={value!r}", "items" if "items" in answer.text else answer.text)


@probe
def an_old_version_is_gone(api: Probe) -> None:
    api.create("a")
    with api.watch(resourceVersion="1") as watch:
        watch.to_the_end("watched")


@probe
def a_version_to_come(api: Probe) -> None:
    now = int(version(said(api.send("GET", ""))))
    with api.watch(resourceVersion=str(now + 1_000_000), timeoutSeconds="1") as watch:
        watch.to_the_end("watched")


@probe
def a_watch_prints_rows(api: Probe) -> None:
    then = version(api.create("a"))
    api.change("a", {"status": {"phase": "Paused"}}, "/status")
    api.send("DELETE", "a")
    with api.watch(resourceVersion=then, accept=_TABLE) as watch:
        watch.events("rows", lambda event: event["type"] == "DELETED")
    with api.watch(timeoutSeconds="1", allowWatchBookmarks="1", accept=_TABLE) as watch:
        watch.to_the_end("bookmark")


@probe
def a_watch_by_its_old_path(api: Probe) -> None:
    then = version(api.create("a"))
    api.change("a", {"spec": {"ports": [1]}})
    old = f"/apis/sandbox-gateway.dev/v1alpha1/watch/namespaces/{api.namespace}/sandboxes"
    answer = api.send("GET", old, params={"resourceVersion": then, "timeoutSeconds": "1"})
    api.note("status", answer.status_code)
