"""Objects from YAML files, put into the store: what `-f` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from gateway.local.api import AlreadyExistsError, ApiError, JsonObject, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.local.api import GroupResource


class ManifestError(Exception):
    """A file or an object in it that cannot be used; the text names both."""


def read_documents(files: Iterable[Path]) -> Iterator[JsonObject]:
    """Give the objects of YAML files in order; raise ManifestError."""
    for file in files:
        try:
            documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ManifestError(f"{file}: {error}") from error
        for document in documents:
            if document is None:
                continue
            if not isinstance(document, dict):
                raise ManifestError(f"{file}: a document in it is not an object")
            yield document


def apply(store: ObjectStore, wanted: JsonObject) -> JsonObject:
    """Create an object, or give the one of its name this spec, labels and annotations.

    Return it as stored. Raise ManifestError if the API does not take it.
    """
    resource = _resource_of(store, wanted)
    metadata = wanted.get("metadata") or {}
    namespace, name = metadata.get("namespace") or "default", metadata.get("name") or ""
    try:
        try:
            return store.create(resource, namespace, wanted)
        except AlreadyExistsError:
            return store.patch(resource, namespace, name, lambda stored: _merge(stored, wanted))
    except ApiError as error:
        raise ManifestError(f"{wanted.get('kind')} {namespace}/{name}: {error}") from error


def _resource_of(store: ObjectStore, wanted: JsonObject) -> GroupResource:
    kind, api_version = wanted.get("kind"), wanted.get("apiVersion")
    for definition in store.definitions:
        if (definition.kind, definition.api_version) == (kind, api_version):
            return definition.resource
    raise ManifestError(f"{kind} in {api_version} is not served here")


def _merge(stored: JsonObject, wanted: JsonObject) -> None:
    stored["spec"] = wanted.get("spec") or {}
    for name in ("labels", "annotations"):
        entries: Any = (wanted.get("metadata") or {}).get(name)
        if entries:
            stored["metadata"].setdefault(name, {}).update(entries)
