"""Objects from files: created, or brought up to date; what is wrong is told with its place."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.local.api import SANDBOXES, ObjectStore, load_native_crd
from gateway.local.manifests import ManifestError, apply, read_documents

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.local.api import JsonObject


def sandbox(**spec: object) -> JsonObject:
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": "box", "labels": {"team": "a"}},
        "spec": spec,
    }


def store() -> closing[ObjectStore]:
    return closing(ObjectStore(":memory:", [load_native_crd()]))


def test_documents_come_in_order_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("kind: A\n---\n---\nkind: B\n")
    second.write_text("kind: C\n")
    assert [one["kind"] for one in read_documents([first, second])] == ["A", "B", "C"]


@pytest.mark.parametrize("content", [b"a: [", b"- a list\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_yaml_of_objects_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(ManifestError, match=r"bad\.yaml"):
        list(read_documents([file]))
    with pytest.raises(ManifestError, match=r"missing\.yaml"):
        list(read_documents([tmp_path / "missing.yaml"]))


def test_an_object_is_created_once_and_then_brought_up_to_date() -> None:
    with store() as kept:
        created = apply(kept, sandbox(ports=[80]))
        changed = apply(kept, sandbox(ports=[81]) | {"metadata": {"name": "box"}})
        assert changed["metadata"]["uid"] == created["metadata"]["uid"]
        stored = kept.get(SANDBOXES, "default", "box")
        assert stored["spec"]["ports"] == [81]
        assert stored["metadata"]["labels"] == {"team": "a"}


def test_a_kind_that_is_not_served_and_a_bad_object_are_refused_by_name() -> None:
    with store() as kept:
        with pytest.raises(ManifestError, match="Pod in v1 is not served"):
            apply(kept, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}})
        with pytest.raises(ManifestError, match=r"Sandbox default/box: .*ports"):
            apply(kept, sandbox(ports=["eighty"]))
