"""Lists and their pages."""

from __future__ import annotations

import base64

import pytest

from gateway.local.api import (
    SANDBOXES,
    BadRequestError,
    ExpiredError,
    ListOptions,
    ObjectList,
    ObjectStore,
    parse_selector,
)
from gateway.local.api.errors import FutureVersionError
from gateway.local.api.listing import VersionMatch

from .support import sandbox


def filled(store: ObjectStore, count: int = 5) -> ObjectStore:
    for index in range(count):
        namespace = "default" if index % 2 else "another"
        store.create(SANDBOXES, namespace, sandbox(f"s{index}", labels={"n": str(index)}))
    return store


def names(listed: ObjectList) -> list[str]:
    return [obj["metadata"]["name"] for obj in listed.items]


def test_a_list_is_sorted_by_namespace_and_name(store: ObjectStore) -> None:
    listed = filled(store).list(SANDBOXES)
    assert names(listed) == ["s0", "s2", "s4", "s1", "s3"]
    assert listed.resource_version == "5"
    assert names(store.list(SANDBOXES, ListOptions("default"))) == ["s1", "s3"]


def test_pages_together_are_the_list_as_it_was_at_the_first(store: ObjectStore) -> None:
    filled(store)
    page = store.list(SANDBOXES, ListOptions(limit=2))
    assert (names(page), page.remaining) == (["s0", "s2"], 3)
    store.delete(SANDBOXES, "another", "s4")
    store.create(SANDBOXES, "another", sandbox("s3-late"))
    store.patch(SANDBOXES, "default", "s1", lambda obj: obj | {"spec": {"desiredState": "Paused"}})
    rest = store.list(SANDBOXES, ListOptions(limit=2, continue_from=page.continue_from))
    assert (names(rest), rest.remaining) == (["s4", "s1"], 1)
    assert rest.items[1]["spec"]["desiredState"] == "Running"
    assert rest.resource_version == page.resource_version
    last = store.list(SANDBOXES, ListOptions(limit=2, continue_from=rest.continue_from))
    assert (names(last), last.continue_from, last.remaining) == (["s3"], "", None)


def test_a_limit_counts_what_is_selected(store: ObjectStore) -> None:
    selector = parse_selector("n in (2,3,4)", "", ())
    page = filled(store).list(SANDBOXES, ListOptions(selector=selector, limit=2))
    assert (names(page), page.remaining) == (["s2", "s4"], None)
    options = ListOptions(selector=selector, limit=2, continue_from=page.continue_from)
    assert names(store.list(SANDBOXES, options)) == ["s3"]


def test_a_token_of_a_compacted_version_expires(store: ObjectStore) -> None:
    page = filled(store).list(SANDBOXES, ListOptions(limit=2))
    store.create(SANDBOXES, "default", sandbox("late"))
    store.compact()
    with pytest.raises(ExpiredError):
        store.list(SANDBOXES, ListOptions(continue_from=page.continue_from))


@pytest.mark.parametrize(
    "document", [b"{}", b"[1]", b'[-2,"a","b"]', b'[1,"a",2]', b"\xff", b'["1","a","b"]']
)
def test_a_token_that_is_not_ours_is_refused(store: ObjectStore, document: bytes) -> None:
    token = base64.urlsafe_b64encode(document).decode()
    for text in (token, "%%%"):
        with pytest.raises(BadRequestError):
            store.list(SANDBOXES, ListOptions(continue_from=text))


def test_a_token_comes_without_a_version_of_its_own(store: ObjectStore) -> None:
    page = filled(store).list(SANDBOXES, ListOptions(limit=1))
    for version, refused in (("0", False), ("3", True)):
        options = ListOptions(continue_from=page.continue_from, resource_version=version)
        if refused:
            with pytest.raises(BadRequestError):
                store.list(SANDBOXES, options)
        else:
            store.list(SANDBOXES, options)


def test_an_exact_version_shows_the_past(store: ObjectStore) -> None:
    filled(store)
    store.delete(SANDBOXES, "another", "s0")
    exact = ListOptions(resource_version="2", match=VersionMatch.EXACT)
    assert names(store.list(SANDBOXES, exact)) == ["s0", "s1"]
    store.compact(3)
    with pytest.raises(ExpiredError):
        store.list(SANDBOXES, exact)


def test_a_version_is_a_lower_bound_unless_exact(store: ObjectStore) -> None:
    filled(store)
    for version in ("", "0", "3", "5"):
        assert len(store.list(SANDBOXES, ListOptions(resource_version=version)).items) == 5
    for match in VersionMatch:
        with pytest.raises(FutureVersionError):
            store.list(SANDBOXES, ListOptions(resource_version="6", match=match))


@pytest.mark.parametrize("version", ["-1", "x", "1.5", "9" * 20, "\u0663"])
def test_what_is_no_version_is_a_bad_request(store: ObjectStore, version: str) -> None:
    with pytest.raises(BadRequestError):
        store.list(SANDBOXES, ListOptions(resource_version=version))
