"""The verbs over HTTP: codes, Status bodies, content types, parameters."""

from __future__ import annotations

import pytest

from gateway.local.api import SANDBOXES, ObjectStore

from .support import BASE, COLLECTION, JSON_PATCH, MERGE, TABLE, Client, sandbox

DEMO = f"{COLLECTION}/demo"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
EVENTS = "/api/v1/namespaces/default/events"


async def test_an_object_lives_from_create_to_delete(client: Client) -> None:
    created = await client.post(COLLECTION, sandbox())
    assert created.status == 201
    assert (await client.get(DEMO)).body == created.body
    changed = created.body | {"spec": {"desiredState": "Paused"}}
    updated = await client.put(DEMO, changed)
    assert (updated.status, updated.body["metadata"]["generation"]) == (200, 2)
    patched = await client.patch(DEMO, {"spec": {"desiredState": "Running"}})
    assert (patched.status, patched.body["spec"]["desiredState"]) == (200, "Running")
    listed = (await client.get(COLLECTION)).body
    assert listed["kind"] == "SandboxList"
    assert listed["items"] == [patched.body]
    deleted = await client.delete(DEMO, {"propagationPolicy": "Background"})
    assert deleted.status == 200
    assert deleted.body["status"] == "Success"
    assert deleted.body["details"]["uid"] == created.body["metadata"]["uid"]
    gone = await client.get(DEMO)
    assert (gone.status, gone.reason) == (404, "NotFound")
    assert gone.body["details"] == {
        "name": "demo",
        "group": "sandbox-gateway.dev",
        "kind": "sandboxes",
    }


async def test_already_there_and_modified_since_are_two_conflicts(client: Client) -> None:
    created = await client.post(COLLECTION, sandbox())
    again = await client.post(COLLECTION, sandbox())
    assert (again.status, again.reason) == (409, "AlreadyExists")
    await client.patch(DEMO, {"spec": {"desiredState": "Paused"}})
    stale = await client.put(DEMO, created.body)
    assert (stale.status, stale.reason) == (409, "Conflict")
    version = {"metadata": {"resourceVersion": created.body["metadata"]["resourceVersion"]}}
    stale = await client.patch(DEMO, {**version, "spec": {"desiredState": "Running"}})
    assert (stale.status, stale.reason) == (409, "Conflict")


async def test_an_invalid_object_names_its_fields(client: Client) -> None:
    refused = await client.post(COLLECTION, sandbox(ports=[0]))
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.body["details"]["causes"][0]["field"] == "spec.ports[0]"
    assert refused.body["kind"] == "Status"
    assert refused.body["code"] == 422


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/api/v2",
        "/api/v1/pods",
        "/apis/apps",
        "/apis/apps/v1/deployments",
        "/apis/sandbox-gateway.dev/v1/sandboxes",
        f"{BASE}/nothing",
        f"{BASE}/namespaces/default",
        f"{DEMO}/scale",
        f"{DEMO}/status/more",
        f"{COLLECTION}//status",
        f"{LEASES}/x/status",
        "/api/v1/namespaces/nowhere",
    ],
)
async def test_what_is_not_served_is_a_status_404(client: Client, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status, answer.reason) == (404, "NotFound")
    assert answer.body["kind"] == "Status"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", COLLECTION),
        ("PATCH", COLLECTION),
        ("POST", DEMO),
        ("DELETE", f"{DEMO}/status"),
        ("POST", f"{BASE}/sandboxes"),
        ("DELETE", f"{BASE}/sandboxes"),
        ("POST", "/api/v1/namespaces"),
        ("DELETE", "/api/v1/namespaces/default"),
        ("GET", "/api/v1/namespaces?watch=1"),
        ("POST", "/version"),
        ("OPTIONS", DEMO),
    ],
)
async def test_a_method_that_is_not_served_is_a_status_405(
    client: Client, method: str, path: str
) -> None:
    await client.post(COLLECTION, sandbox())
    answer = await client.call(method, path)
    assert (answer.status, answer.reason) == (405, "MethodNotAllowed")


async def test_patch_content_types(client: Client) -> None:
    await client.post(COLLECTION, sandbox())
    operations = [{"op": "add", "path": "/spec/ports", "value": [80]}]
    assert (await client.patch(DEMO, operations, JSON_PATCH)).body["spec"]["ports"] == [80]
    failing = [{"op": "test", "path": "/spec/ports", "value": 1}]
    assert (await client.patch(DEMO, failing, JSON_PATCH)).status == 422
    for kind in ("application/strategic-merge-patch+json", "application/apply-patch+yaml", "x/y"):
        refused = await client.patch(DEMO, {}, kind)
        assert (refused.status, refused.reason) == (415, "UnsupportedMediaType")
    applied = await client.patch(DEMO, {}, "application/apply-patch+yaml")
    assert "client-side apply" in applied.body["message"]
    assert (await client.patch(f"{COLLECTION}/nothing", {})).status == 404
    assert (await client.patch(DEMO, b"{")).status == 400


async def test_a_lease_takes_strategic_merge(client: Client) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
    assert (await client.post(LEASES, lease)).status == 201
    patch = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
    answer = await client.patch(f"{LEASES}/l", patch, "application/strategic-merge-patch+json")
    assert answer.body["spec"] == {"holderIdentity": "a"} | patch["spec"]


async def test_bodies_that_are_no_json_object(client: Client) -> None:
    for body in (b"", b"{", b"[]", b"\xff", b'{"a": NaN}'):
        assert (await client.call("POST", COLLECTION, body)).status == 400
    yaml = await client.call("POST", COLLECTION, b"a: b", content_type="application/yaml")
    assert (yaml.status, yaml.reason) == (415, "UnsupportedMediaType")
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    assert (await client.call("POST", COLLECTION, deep)).status == 400


async def test_a_body_beyond_the_limit_is_a_status_413(client: Client) -> None:
    answer = await client.call("POST", COLLECTION, b" " * (3 * 1024 * 1024 + 1))
    assert (answer.status, answer.reason) == (413, "RequestEntityTooLarge")


async def test_a_client_that_takes_no_json_gets_406(client: Client) -> None:
    await client.post(COLLECTION, sandbox())
    protobuf = "application/vnd.kubernetes.protobuf"
    for path in (COLLECTION, DEMO, "/apis"):
        answer = await client.get(path, Accept=protobuf)
        assert (answer.status, answer.reason) == (406, "NotAcceptable")
        fallback = await client.get(path, Accept=f"{protobuf},application/json;q=0.5")
        assert fallback.status == 200


async def test_status_is_a_subresource(client: Client) -> None:
    await client.post(COLLECTION, sandbox())
    patch = {"status": {"phase": "Running"}, "spec": {"desiredState": "Paused"}}
    patched = await client.patch(f"{DEMO}/status", patch)
    assert patched.body["status"] == {"phase": "Running"}
    assert patched.body["spec"]["desiredState"] == "Running"
    put = await client.put(f"{DEMO}/status", patched.body | {"status": {"phase": "Paused"}})
    assert put.body["status"] == {"phase": "Paused"}
    assert (await client.get(f"{DEMO}/status")).body == put.body
    ignored = await client.patch(DEMO, {"status": {"phase": "Hacked"}})
    assert ignored.body == put.body


async def test_field_validation_is_warn_unless_asked_otherwise(client: Client) -> None:
    obj = sandbox(oops=1)
    warned = await client.post(COLLECTION, obj)
    assert warned.status == 201
    assert warned.headers["Warning"] == '299 - "unknown field \\"spec.oops\\""'
    assert "oops" not in warned.body["spec"]
    strict = await client.patch(f"{DEMO}?fieldValidation=Strict", {"spec": {"oops": 1}})
    assert (strict.status, strict.reason) == (400, "BadRequest")
    assert 'strict decoding error: unknown field "spec.oops"' in strict.body["message"]
    ignored = await client.patch(f"{DEMO}?fieldValidation=Ignore", {"spec": {"oops": 1}})
    assert "Warning" not in ignored.headers
    assert (await client.patch(f"{DEMO}?fieldValidation=X", {})).status == 422


async def test_a_dry_run_stores_nothing(client: Client, store: ObjectStore) -> None:
    assert (await client.post(f"{COLLECTION}?dryRun=All", sandbox())).status == 201
    assert store.resource_version == "0"
    await client.post(COLLECTION, sandbox())
    assert (await client.patch(f"{DEMO}?dryRun=All", {"spec": {"ports": [1]}})).status == 200
    for path, body in ((f"{DEMO}?dryRun=All", None), (DEMO, {"dryRun": ["All"]})):
        assert (await client.delete(path, body)).status == 200
    assert (await client.delete(f"{COLLECTION}?dryRun=All")).status == 200
    assert store.resource_version == "1"
    assert (await client.post(f"{COLLECTION}?dryRun=Some", sandbox("x"))).status == 422


async def test_delete_honours_preconditions_and_finalizers(client: Client) -> None:
    created = await client.post(COLLECTION, sandbox(finalizers=["example.dev/f"]))
    for wrong in ({"uid": "x"}, {"resourceVersion": "99"}):
        refused = await client.delete(DEMO, {"preconditions": wrong})
        assert (refused.status, refused.reason) == (409, "Conflict")
    uid = created.body["metadata"]["uid"]
    marked = await client.delete(DEMO, {"preconditions": {"uid": uid}})
    assert (marked.status, marked.body["kind"]) == (200, "Sandbox")
    assert marked.body["metadata"]["deletionTimestamp"]
    await client.patch(DEMO, {"metadata": {"finalizers": None}})
    assert (await client.get(DEMO)).status == 404
    assert (await client.delete(DEMO)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"propagationPolicy": "Sideways"},
        {"preconditions": "x"},
        {"preconditions": {"uid": 1}},
        {"dryRun": "All"},
        {"dryRun": ["Some"]},
    ],
)
async def test_malformed_delete_options_are_refused(client: Client, body: object) -> None:
    await client.post(COLLECTION, sandbox())
    assert (await client.delete(DEMO, body)).status in (400, 422)
    assert (await client.get(DEMO)).status == 200


async def test_a_collection_is_deleted_as_selected(client: Client) -> None:
    for name, value in (("a", "x"), ("b", "y"), ("c", "x")):
        await client.post(COLLECTION, sandbox(name, labels={"l": value}))
    deleted = await client.delete(f"{COLLECTION}?labelSelector=l%3Dx")
    assert [obj["metadata"]["name"] for obj in deleted.body["items"]] == ["a", "c"]
    left = (await client.get(COLLECTION)).body["items"]
    assert [obj["metadata"]["name"] for obj in left] == ["b"]


async def test_lists_are_selected_and_paged(client: Client, store: ObjectStore) -> None:
    for index in range(3):
        store.create(SANDBOXES, "default", sandbox(f"s{index}", labels={"l": "x"}))
    page = (await client.get(f"{COLLECTION}?limit=2")).body
    assert page["metadata"]["remainingItemCount"] == 1
    token = page["metadata"]["continue"]
    rest = (await client.get(f"{COLLECTION}?limit=2&continue={token}")).body
    assert [obj["metadata"]["name"] for obj in rest["items"]] == ["s2"]
    version = page["metadata"]["resourceVersion"]
    assert rest["metadata"] == {"continue": "", "resourceVersion": version}
    one = (await client.get(f"{BASE}/sandboxes?fieldSelector=metadata.name%3Ds1")).body
    assert len(one["items"]) == 1
    store.create(SANDBOXES, "default", sandbox("late"))
    store.compact()
    expired = await client.get(f"{COLLECTION}?limit=2&continue={token}")
    assert (expired.status, expired.reason) == (410, "Expired")
    other = expired.body["metadata"]["continue"]
    now = (await client.get(f"{COLLECTION}?continue={other}")).body
    assert [obj["metadata"]["name"] for obj in now["items"]] == ["s2"]


@pytest.mark.parametrize(
    "query",
    [
        "labelSelector=a%3Db%3Dc",
        "fieldSelector=spec.x%3Dy",
        "limit=",
        "limit=x",
        "continue=x",
        "resourceVersion=x",
        "timeout=soon",
        "includeObject=All",
    ],
)
async def test_a_malformed_parameter_is_a_bad_request(client: Client, query: str) -> None:
    answer = await client.get(f"{COLLECTION}?{query}", Accept=TABLE)
    assert (answer.status, answer.reason) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("resourceVersionMatch=Exact&resourceVersion=0", "resourceVersionMatch"),
        ("resourceVersionMatch=Sometimes&resourceVersion=1", "resourceVersionMatch"),
        ("sendInitialEvents=true", "sendInitialEvents"),
        ("watch=1&sendInitialEvents=true", "resourceVersionMatch"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "resourceVersionMatch"),
    ],
)
async def test_parameters_that_do_not_go_together_are_invalid(
    client: Client, query: str, field: str
) -> None:
    answer = await client.get(f"{COLLECTION}?{query}")
    assert (answer.status, answer.reason) == (422, "Invalid")
    assert answer.body["details"]["causes"][0]["field"] == field


async def test_a_negative_limit_is_none(client: Client, store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox())
    assert len((await client.get(f"{COLLECTION}?limit=-1")).body["items"]) == 1


async def test_no_answer_may_be_kept(client: Client) -> None:
    for path in (COLLECTION, DEMO, "/version"):
        assert (await client.get(path)).headers["Cache-Control"] == "no-cache, private"


async def test_what_the_client_cannot_read_is_not_written(
    client: Client, store: ObjectStore
) -> None:
    answer = await client.call("POST", COLLECTION, sandbox(), Accept="text/html")
    assert answer.status == 406
    assert store.list(SANDBOXES).items == []


async def test_a_head_is_that_of_get(client: Client, store: ObjectStore) -> None:
    assert (await client.call("HEAD", DEMO)).status == 404
    store.create(SANDBOXES, "default", sandbox())
    answer = await client.call("HEAD", DEMO)
    assert (answer.status, answer.body) == (200, {"raw": ""})


async def test_metadata_alone_is_given_to_who_asks_for_it(
    client: Client, store: ObjectStore
) -> None:
    store.create(SANDBOXES, "default", sandbox())
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    listed = (await client.get(COLLECTION, Accept=accept)).body
    assert listed["kind"] == "PartialObjectMetadataList"
    (one,) = listed["items"]
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "demo")
    assert "spec" not in one


async def test_a_uid_guards_an_object_but_not_its_status(
    client: Client, store: ObjectStore
) -> None:
    """As a real server does with custom resources: who reports names the version, too."""
    store.create(SANDBOXES, "default", sandbox())
    other = {"metadata": {"uid": "another"}}
    refused = await client.patch(DEMO, other | {"spec": {"ports": [1]}})
    assert (refused.status, refused.reason) == (422, "Invalid")
    told = await client.patch(f"{DEMO}/status", other | {"status": {"phase": "Paused"}})
    assert told.body["status"] == {"phase": "Paused"}


async def test_a_deletion_is_not_undone_or_begun_by_a_write(
    client: Client, store: ObjectStore
) -> None:
    store.create(SANDBOXES, "default", sandbox())
    patch = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    answer = await client.patch(DEMO, patch)
    assert (answer.status, answer.reason) == (422, "Invalid")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"gracePeriodSeconds": "x"}, 400),
        ({"kind": "Sandbox", "apiVersion": "sandbox-gateway.dev/v1alpha1"}, 400),
        ({"propagationPolicy": "Sideways"}, 422),
        ({"propagationPolicy": "Background", "orphanDependents": True}, 422),
    ],
)
async def test_options_of_a_deletion_that_are_none_are_refused(
    client: Client, store: ObjectStore, options: dict[str, object], status: int
) -> None:
    store.create(SANDBOXES, "default", sandbox())
    assert (await client.delete(DEMO, options)).status == status
    assert len(store.list(SANDBOXES).items) == 1


async def test_a_future_version_is_answered_as_too_large(client: Client) -> None:
    answer = await client.get(f"{COLLECTION}?resourceVersion=99")
    assert (answer.status, answer.reason) == (504, "Timeout")
    assert answer.headers["Retry-After"] == "1"
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_events_are_selected_by_their_object(client: Client) -> None:
    for name in ("a", "b"):
        event = {
            "metadata": {"name": f"{name}.1"},
            "involvedObject": {"kind": "Sandbox", "name": name, "uid": f"uid-{name}"},
            "reason": "Started",
            "type": "Normal",
        }
        assert (await client.post(EVENTS, event)).status == 201
    query = "involvedObject.name%3Da,involvedObject.uid%3Duid-a,reason%3DStarted,type%3DNormal"
    found = (await client.get(f"{EVENTS}?fieldSelector={query}")).body["items"]
    assert [event["metadata"]["name"] for event in found] == ["a.1"]
    assert "generation" not in found[0]["metadata"]


async def test_namespaces_can_be_read(client: Client, store: ObjectStore) -> None:
    store.create(SANDBOXES, "team", sandbox())
    listed = (await client.get("/api/v1/namespaces")).body
    assert [obj["metadata"]["name"] for obj in listed["items"]] == ["default", "team"]
    assert (await client.get("/api/v1/namespaces/team")).body["status"] == {"phase": "Active"}
    one = await client.get("/api/v1/namespaces?fieldSelector=metadata.name%3Dteam")
    assert len(one.body["items"]) == 1
    assert (await client.get("/api/v1/namespaces?continue=x")).status == 400


async def test_tables_follow_the_printer_columns(client: Client, store: ObjectStore) -> None:
    uid = store.create(SANDBOXES, "default", sandbox())["metadata"]["uid"]
    store.update_status(
        SANDBOXES, "default", "demo", uid, lambda s: s.update(phase="Running", podIP="127.0.0.1")
    )
    table = (await client.get(COLLECTION, Accept=TABLE)).body
    assert table["kind"] == "Table"
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns == ["Name", "Desired", "Phase", "IP", "Age"]
    row = table["rows"][0]
    assert row["cells"][:4] == ["demo", "Running", "Running", "127.0.0.1"]
    assert row["cells"][4].endswith("s")
    assert row["object"]["kind"] == "PartialObjectMetadata"
    whole = (await client.get(f"{DEMO}?includeObject=Object", Accept=TABLE)).body
    assert whole["rows"][0]["object"]["spec"]
    bare = (await client.get(f"{DEMO}?includeObject=None", Accept=TABLE)).body
    assert bare["rows"][0]["object"] is None


async def test_a_merge_patch_body_may_carry_a_charset(client: Client) -> None:
    await client.post(COLLECTION, sandbox())
    assert (await client.patch(DEMO, {}, f"{MERGE}; charset=utf-8")).status == 200
