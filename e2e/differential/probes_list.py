"""Probes of lists: selectors, pages, and versions that they are of."""

from __future__ import annotations

from typing import Final

from .probe import WIDGETS, Probe, eventually, probe, said, version

_LABELS: Final = {
    "a": {"tier": "web", "stage": "one"},
    "b": {"tier": "web"},
    "c": {"tier": "db", "x.dev/y": ""},
    "d": {},
}


def _labelled(api: Probe) -> None:
    for name, labels in _LABELS.items():
        api.create(name, metadata={"labels": labels} if labels else None)


def _names(api: Probe, what: str, path: str = "", **params: object) -> None:
    """Note the names that a list gives, or the whole answer of a refusal."""
    answer = api.send("GET", path, params=params)
    if answer.is_error:
        api.ask(what, "GET", path, params=params)
    else:
        api.note(what, [one["metadata"]["name"] for one in answer.json()["items"]])


@probe
def label_selectors_select(api: Probe) -> None:
    _labelled(api)
    for selector in (
        "", " ", "tier", "!tier", "! tier", "tier=web", "tier==web", "tier!=web", "tier = web",
        "tier in (web)", "tier in (web, db)", "tier in(web,db)", "tier notin (web)", "tier,stage",
        "tier in ()", "tier in (web,)", "stage notin (one)", "tier=web,stage!=one", "tier=",
        "x.dev/y", "x.dev/y=", "tier=web,", ",tier=web", "tier>1", "tier<1", "tier>a", "tier gt 1",
        "tier=web=db", "=web", "!", "tier in web", "tier in (web", "tier notin", "in in (in)",
        "tier=a b", "Tier=web", "-tier", "tier=-", "a/b/c", "tier=(web)", "tier exists",
        "tier in (web),stage", "tier !=web", "notin", "tier in (-)", "tier=" + "v" * 64,
    ):  # fmt: skip
        _names(api, f"{selector[:20]!r}", labelSelector=selector)


@probe
def field_selectors_select(api: Probe) -> None:
    _labelled(api)
    for selector in (
        "", "metadata.name=a", "metadata.name==a", "metadata.name!=a", "metadata.name=a,",
        "metadata.name=a,metadata.name=b", "metadata.name!=a,metadata.name!=b", "metadata.name",
        f"metadata.namespace={api.namespace}", "metadata.namespace=other", "metadata.name=",
        "spec.desiredState=Running", "status.phase=Running", "metadata.uid=1", "name=a", "=a",
        "metadata.name in (a)", "metadata.name=a=b", r"metadata.name=a\,b", "metadata.name=a b",
        "metadata.name = a", ",", "metadata.labels.tier=web",
    ):  # fmt: skip
        _names(api, f"{selector.replace(api.namespace, 'own')!r}", fieldSelector=selector)
    _names(api, "both", fieldSelector="metadata.name!=a", labelSelector="tier=web")


@probe
def fields_that_are_declared_can_be_selected_by(api: Probe) -> None:
    path = api.path(WIDGETS, "widgets")
    for name, color in {"r": "red", "g": "green"}.items():
        body = {"apiVersion": WIDGETS, "kind": "Widget", "metadata": {"name": name}}
        said(api.send("POST", path, json=body | {"spec": {"color": color}}))
    for selector in ("spec.color=red", "spec.color!=red", "spec.size=1", ".spec.color=red"):
        _names(api, selector, path, fieldSelector=selector)


@probe
def pages_go_on_where_the_last_ended(api: Probe) -> None:
    _labelled(api)
    page = api.ask("first", "GET", "", params={"limit": 1}).json()
    api.create("bb")
    api.send("DELETE", "c")
    following = page["metadata"]["continue"]
    api.ask("second and third", "GET", "", params={"limit": 2, "continue": following})
    api.ask("the rest", "GET", "", params={"continue": following})
    api.ask(
        "with a version",
        "GET",
        "",
        params={"continue": following, "resourceVersion": version(page)},
    )
    api.ask("with version 0", "GET", "", params={"continue": following, "resourceVersion": "0"})
    api.ask(
        "with a match", "GET", "", params={"continue": following, "resourceVersionMatch": "Exact"}
    )
    api.ask(
        "another selector", "GET", "", params={"continue": following, "labelSelector": "tier=db"}
    )
    api.ask("as many as there are", "GET", "", params={"limit": 4})
    api.ask("more than there are", "GET", "", params={"limit": 5})
    api.ask("selected", "GET", "", params={"limit": 1, "labelSelector": "tier=web"})
    api.ask("the last selected", "GET", "", params={"limit": 2, "labelSelector": "tier=web"})
    api.ask("by name", "GET", "", params={"limit": 1, "fieldSelector": "metadata.name!=a"})


@probe
def limits_and_tokens_that_are_none(api: Probe) -> None:
    _labelled(api)
    for limit in ("0", "-1", "x", "", "1.5", "99999999999", "9" * 30):
        _names(api, f"limit {limit!r}", limit=limit)
    for token in ("garbage", "bm90aGluZw", "e30", "eyJ2IjoieCJ9", "%%%"):
        api.ask(f"token {token}", "GET", "", params={"continue": token})
        api.ask(f"token {token}, limited", "GET", "", params={"continue": token, "limit": 1})


@probe
def an_old_token_is_expired(api: Probe) -> None:
    _labelled(api)
    token = said(api.send("GET", "", params={"limit": 1}))["metadata"]["continue"]
    api.change("a", {"metadata": {"labels": {"more": "1"}}})

    def rest() -> object:
        return api.send("GET", "", params={"limit": 1, "continue": token})

    eventually(lambda: api.send("GET", "", params={"limit": 1, "continue": token}), 410)
    gone = api.ask("gone", "GET", "", params={"limit": 1, "continue": token}).json()
    another = gone["metadata"]["continue"]
    api.ask("from there as it is now", "GET", "", params={"limit": 1, "continue": another})


@probe
def versions_of_a_list(api: Probe) -> None:
    made = api.create("a")
    first = version(made)
    api.create("b")
    now = version(said(api.send("GET", "")))
    future = str(int(now) + 1_000_000)
    versions = {
        "unset": None,
        "empty": "",
        "zero": "0",
        "first": first,
        "now": now,
        "text": "x",
        "negative": "-1",
        "huge": "9" * 30,
    }
    for name, of in versions.items():
        for match in (None, "", "Exact", "NotOlderThan", "exact"):
            params = {"resourceVersion": of, "resourceVersionMatch": match}
            kept = {key: value for key, value in params.items() if value is not None}
            _names(api, f"{name} {match}", **kept)
            if match == "Exact":
                _names(api, f"{name} {match}, limited", limit=1, **kept)
    # What is not there yet is waited for, 3 s, by the real one.
    api.ask("future", "GET", "", params={"resourceVersion": future})
    _names(api, "limited of zero", limit=1, resourceVersion="0")
    api.ask("one of zero", "GET", "a", params={"resourceVersion": "0"})
    api.ask("one of a future", "GET", "a", params={"resourceVersion": future})
    api.ask("one of a text", "GET", "a", params={"resourceVersion": "x"})


@probe
def an_exact_version_shows_what_was(api: Probe) -> None:
    then = version(api.create("was", metadata={"labels": {"a": "1"}}))
    api.change("was", {"metadata": {"labels": {"a": "2"}}})
    exact = {"resourceVersion": then, "resourceVersionMatch": "Exact"}
    api.ask("then", "GET", "", params=exact)
    api.ask("then, selected", "GET", "", params=exact | {"labelSelector": "a=1"})
    eventually(lambda: api.send("GET", "", params=exact | {"resourceVersion": "1"}), 410)
    api.ask("long ago", "GET", "", params=exact | {"resourceVersion": "1"})


@probe
def lists_reach_as_far_as_their_path(api: Probe) -> None:
    api.create("here")
    everywhere = "/apis/sandbox-gateway.dev/v1alpha1/sandboxes"
    field = {"fieldSelector": f"metadata.namespace={api.namespace}"}
    api.ask("all namespaces", "GET", everywhere, params=field)
    api.ask("empty", "GET", api.path("sandbox-gateway.dev/v1alpha1", "sandboxes", "nowhere-at-all"))
    api.ask("pretty", "GET", "here", params={"pretty": "false"})
    api.ask("made in all", "POST", everywhere, json={})
    api.ask("deleted in all", "PUT", everywhere, json={})
    api.ask("named in all", "GET", f"{everywhere}/here")
