"""The store against a model of it: any sequence of writes, and what watches make of it."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.local.api import (
    SANDBOXES,
    AlreadyExistsError,
    ApiError,
    ChangeType,
    ConflictError,
    ExpiredError,
    JsonObject,
    ListOptions,
    NotFoundError,
    ObjectStore,
    Subscription,
    parse_selector,
)
from gateway.local.api.listing import VersionMatch

from .support import memory_store, sandbox

Key = tuple[str, str]
NAMESPACES = st.sampled_from(["default", "team"])
NAMES = st.sampled_from(["a", "b", "c"])
STATES = st.sampled_from(["Running", "Paused"])
LABELS = st.sampled_from([{}, {"tier": "x"}, {"tier": "y"}])
FINALIZERS = st.sampled_from([[], ["example.dev/f"]])
SELECTOR = parse_selector("tier=x", "", ())


class Replica:
    """What a client knows that listed once and has watched since."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.objects: dict[Key, JsonObject] = {}

    async def catch_up(self, target: str) -> None:
        """Apply all events that there are; the subscription has then come to `target`."""
        while True:
            step = asyncio.ensure_future(anext(self.subscription))
            # One turn of the loop is enough for an event that is there already.
            await asyncio.sleep(0)
            if not step.done():
                step.cancel()
                await asyncio.wait([step])
                assert self.subscription.resource_version == target
                return
            self._apply(*step.result())

    def _apply(self, kind: ChangeType, obj: JsonObject) -> None:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if kind is ChangeType.ADDED:
            assert key not in self.objects
            self.objects[key] = obj
        elif kind is ChangeType.MODIFIED:
            assert key in self.objects
            self.objects[key] = obj
        else:
            del self.objects[key]


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.__enter__()
        self.store: ObjectStore = memory_store()
        self.model: dict[Key, dict[str, Any]] = {}
        self.version = 0
        self.snapshots: list[tuple[int, dict[Key, dict[str, Any]]]] = []
        self.replicas = [self.runner.run(self.replica()), self.runner.run(self.replica(True))]

    async def replica(self, selected: bool = False) -> Replica:
        if selected:
            return Replica(self.store.subscribe(SANDBOXES, selector=SELECTOR))
        return Replica(self.store.subscribe(SANDBOXES))

    def teardown(self) -> None:
        self.store.close()
        self.runner.close()

    def wrote(self) -> None:
        self.version += 1
        frozen = {key: dict(value) for key, value in self.model.items()}
        self.snapshots.append((self.version, frozen))

    @rule(namespace=NAMESPACES, name=NAMES, state=STATES, labels=LABELS, finalizers=FINALIZERS)
    def create(
        self,
        namespace: str,
        name: str,
        state: str,
        labels: dict[str, str],
        finalizers: list[str],
    ) -> None:
        obj = sandbox(name, desiredState=state, labels=labels, finalizers=finalizers)
        try:
            created = self.store.create(SANDBOXES, namespace, obj)
        except AlreadyExistsError:
            assert (namespace, name) in self.model
            return
        assert (namespace, name) not in self.model
        self.model[namespace, name] = {
            "state": state,
            "labels": labels,
            "finalizers": finalizers,
            "deleting": False,
            "generation": 1,
            "uid": created["metadata"]["uid"],
        }
        self.wrote()

    @rule(namespace=NAMESPACES, name=NAMES, state=STATES)
    def change_spec(self, namespace: str, name: str, state: str) -> None:
        known = self.model.get((namespace, name))
        try:
            self.store.patch(
                SANDBOXES, namespace, name, lambda obj: obj | {"spec": {"desiredState": state}}
            )
        except NotFoundError:
            assert known is None
            return
        assert known is not None
        if known["state"] != state:
            known["state"] = state
            known["generation"] += 1
            self.wrote()

    @rule(namespace=NAMESPACES, name=NAMES, labels=LABELS, stale=st.booleans())
    def update_labels(self, namespace: str, name: str, labels: dict[str, str], stale: bool) -> None:
        known = self.model.get((namespace, name))
        if known is None:
            return
        obj = self.store.get(SANDBOXES, namespace, name)
        obj["metadata"]["labels"] = labels
        if stale:
            obj["metadata"]["resourceVersion"] = str(self.version + 1)
        try:
            self.store.update(SANDBOXES, namespace, name, obj)
        except ConflictError:
            assert stale
            return
        assert not stale
        if known["labels"] != labels:
            known["labels"] = labels
            self.wrote()

    @rule(namespace=NAMESPACES, name=NAMES)
    def delete(self, namespace: str, name: str) -> None:
        known = self.model.get((namespace, name))
        try:
            self.store.delete(SANDBOXES, namespace, name)
        except NotFoundError:
            assert known is None
            return
        assert known is not None
        if not known["finalizers"]:
            del self.model[namespace, name]
            self.wrote()
        elif not known["deleting"]:
            known["deleting"] = True
            known["generation"] += 1
            self.wrote()

    @rule(namespace=NAMESPACES, name=NAMES, finalizers=FINALIZERS)
    def set_finalizers(self, namespace: str, name: str, finalizers: list[str]) -> None:
        known = self.model.get((namespace, name))
        if known is None:
            return
        try:
            self.store.patch(
                SANDBOXES,
                namespace,
                name,
                lambda obj: obj | {"metadata": obj["metadata"] | {"finalizers": finalizers}},
            )
        except ApiError:
            assert known["deleting"]
            assert set(finalizers) > set(known["finalizers"])
            return
        if known["finalizers"] == finalizers:
            return
        known["finalizers"] = finalizers
        if known["deleting"] and not finalizers:
            del self.model[namespace, name]
        self.wrote()

    @rule()
    def replicas_follow(self) -> None:
        for replica in self.replicas:
            self.runner.run(replica.catch_up(str(self.version) if self.version else ""))
        everything, selected = (replica.objects for replica in self.replicas)
        listed = self.store.list(SANDBOXES).items
        keys = [(obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in listed]
        assert everything == dict(zip(keys, listed, strict=True))
        matching = self.store.list(SANDBOXES, ListOptions(selector=SELECTOR)).items
        assert sorted(selected) == [
            (obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in matching
        ]

    @rule(data=st.data())
    def the_past_can_be_read(self, data: st.DataObject) -> None:
        if not self.snapshots:
            return
        version, then = data.draw(st.sampled_from(self.snapshots))
        options = ListOptions(limit=1, resource_version=str(version), match=VersionMatch.EXACT)
        shown: dict[Key, str] = {}
        while True:
            try:
                page = self.store.list(SANDBOXES, options)
            except ExpiredError:
                assert self.compacted > version
                return
            for obj in page.items:
                key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
                shown[key] = obj["spec"]["desiredState"]
            if not page.continue_from:
                break
            options = ListOptions(limit=1, continue_from=page.continue_from)
        assert shown == {key: value["state"] for key, value in then.items()}

    compacted = 0

    @rule()
    def compact(self) -> None:
        for replica in self.replicas:
            self.runner.run(replica.catch_up(str(self.version) if self.version else ""))
        self.store.compact()
        self.compacted = self.version

    @invariant()
    def the_store_is_the_model(self) -> None:
        assert self.store.resource_version == str(self.version)
        stored = {
            (obj["metadata"]["namespace"], obj["metadata"]["name"]): {
                "state": obj["spec"]["desiredState"],
                "labels": obj["metadata"].get("labels", {}),
                "finalizers": obj["metadata"].get("finalizers", []),
                "deleting": "deletionTimestamp" in obj["metadata"],
                "generation": obj["metadata"]["generation"],
                "uid": obj["metadata"]["uid"],
            }
            for obj in self.store.list(SANDBOXES).items
        }
        assert stored == self.model


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
