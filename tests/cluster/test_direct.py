"""The synchronous client against a scripted API server."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from gateway.cluster.direct import Access, DirectClient, connect, read_kubeconfig
from gateway.cluster.errors import ApiNotInstalled, ApiUnreachable, Garbled
from gateway.dialects.native import RESOURCE, Native
from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    InvalidWrite,
    ObjectGone,
)

from .faultapi import GET, LIST, PATCH, FaultApi, answers, fails, resets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.dialects.base import Patch, RawObject

T = TypeVar("T")


def local(api: FaultApi, **fields: Any) -> Access:
    return Access(server=f"http://127.0.0.1:{api.port}", **fields)


async def call(access: Access, use: Callable[[DirectClient], T]) -> T:
    """Use a client in a thread of its own: it blocks, and the server runs in this one."""

    def work() -> T:
        with DirectClient(connect(access)) as client:
            return use(client)

    return await asyncio.to_thread(work)


def wake(raw: RawObject) -> Patch | None:
    return Native().wake_patch(raw, 0.0)


# ---- reading ------------------------------------------------------------------------------------


async def test_a_list_is_read_page_by_page_in_all_namespaces(api: FaultApi) -> None:
    for number in range(1001):
        api.store(f"box-{number:04}", "team-a" if number % 2 else "team-b")
    found = await call(local(api), lambda client: client.list(RESOURCE))
    assert len({raw["metadata"]["uid"] for raw in found}) == 1001
    assert [one.query["limit"] for one in api.seen] == ["500", "500", "500"]
    assert {one.path for one in api.seen} == {"/apis/sandbox-gateway.dev/v1alpha1/sandboxes"}


async def test_a_list_may_be_of_one_namespace_and_of_some_labels(api: FaultApi) -> None:
    api.store("a", "team-a")
    api.store("b", "team-b")
    found = await call(local(api), lambda client: client.list(RESOURCE, "team-b", "app=x,t!=y"))
    assert [raw["metadata"]["name"] for raw in found] == ["b"]
    assert api.seen[0].query["labelSelector"] == "app=x,t!=y"


async def test_a_list_of_an_api_that_is_not_served_is_told_apart(api: FaultApi) -> None:
    api.installed = False
    with pytest.raises(ApiNotInstalled):
        await call(local(api), lambda client: client.list(RESOURCE))


async def test_one_object_is_read_or_is_not_there(api: FaultApi) -> None:
    stored = api.store("box")
    found = await call(local(api), lambda client: client.get(RESOURCE, "team-a", "box"))
    assert found == stored
    with pytest.raises(ObjectGone):
        await call(local(api), lambda client: client.get(RESOURCE, "team-a", "other"))


async def test_a_path_before_the_api_is_kept(api: FaultApi) -> None:
    api.store("box")
    access = Access(server=f"http://127.0.0.1:{api.port}/k8s/clusters/c-1")
    await call(access, lambda client: client.get(RESOURCE, "team-a", "box"))
    assert api.seen[0].path.startswith("/k8s/clusters/c-1/apis/sandbox-gateway.dev/")


# ---- writing ------------------------------------------------------------------------------------


async def test_a_change_is_a_merge_patch_of_the_version_that_was_judged(api: FaultApi) -> None:
    raw = api.store("box")
    changed = await call(local(api), lambda client: client.change(RESOURCE, raw, wake))
    assert changed["spec"]["desiredState"] == "Running"
    (sent,) = [one for one in api.seen if one.kind == PATCH]
    assert sent.headers["Content-Type"] == "application/merge-patch+json"
    assert json.loads(sent.body) == {
        "spec": {"desiredState": "Running"},
        "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]},
    }


async def test_after_a_conflict_the_object_is_read_and_judged_again(api: FaultApi) -> None:
    stale = api.store("box")
    api.store("box", spec={"note": "somebody else wrote"})
    judged: list[RawObject] = []

    def decide(raw: RawObject) -> Patch | None:
        judged.append(raw)
        return wake(raw)

    changed = await call(local(api), lambda client: client.change(RESOURCE, stale, decide))
    assert changed["spec"]["desiredState"] == "Running"
    assert [one["spec"].get("note") for one in judged] == [None, "somebody else wrote"]


async def test_nothing_is_written_where_the_second_look_wants_nothing(api: FaultApi) -> None:
    stale = api.store("box")
    api.store("box", spec={"desiredState": "Running"})
    changed = await call(local(api), lambda client: client.change(RESOURCE, stale, wake))
    assert changed["spec"]["desiredState"] == "Running"
    assert [one.kind for one in api.seen] == [PATCH, GET]


async def test_another_object_under_the_name_is_not_changed(api: FaultApi) -> None:
    stale = api.store("box")
    api.discard("box")
    api.store("box")
    with pytest.raises(ObjectGone):
        await call(local(api), lambda client: client.change(RESOURCE, stale, wake))
    assert api.objects["team-a", "box"]["spec"]["desiredState"] == "Paused"


async def test_a_change_that_always_conflicts_is_given_up(api: FaultApi) -> None:
    raw = api.store("box")
    api.queue(PATCH, *[fails(409)] * 20)
    with pytest.raises(Conflict):
        await call(local(api), lambda client: client.change(RESOURCE, raw, wake))
    assert api.count(PATCH) == 5


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidWrite),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, ObjectGone),
        (409, Conflict),
        (415, InvalidWrite),
        (422, InvalidWrite),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
    ],
)
async def test_a_status_becomes_its_error(
    api: FaultApi, status: int, kind: type[ClusterError]
) -> None:
    api.queue(GET, fails(status))
    with pytest.raises(kind) as caught:
        await call(local(api), lambda client: client.get(RESOURCE, "team-a", "box"))
    assert type(caught.value) is kind
    assert "as scripted" in str(caught.value)


async def test_the_apis_own_hint_when_to_try_again_is_kept(api: FaultApi) -> None:
    api.queue(GET, fails(429, {"Retry-After": "7"}))
    with pytest.raises(ApiUnavailable) as caught:
        await call(local(api), lambda client: client.get(RESOURCE, "team-a", "box"))
    assert caught.value.retry_after == 7.0
    assert len(api.seen) == 1


async def test_a_redirect_is_not_followed(api: FaultApi) -> None:
    api.queue(GET, fails(302, {"Location": "/elsewhere"}))
    with pytest.raises(ClusterError):
        await call(local(api), lambda client: client.get(RESOURCE, "team-a", "box"))
    assert len(api.seen) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff"])
async def test_an_answer_that_is_no_object_is_an_error(api: FaultApi, body: bytes) -> None:
    api.queue(GET, answers(body))
    with pytest.raises(Garbled):
        await call(local(api), lambda client: client.get(RESOURCE, "team-a", "box"))


async def test_a_list_that_is_none_is_an_error(api: FaultApi) -> None:
    api.queue(LIST, answers(b'{"kind": "Status"}'))
    with pytest.raises(Garbled):
        await call(local(api), lambda client: client.list(RESOURCE))


async def test_a_connection_that_breaks_is_an_error_and_nothing_is_sent_twice(
    api: FaultApi,
) -> None:
    raw = api.store("box")
    api.queue(PATCH, resets)
    with pytest.raises(ApiUnreachable):
        await call(local(api), lambda client: client.change(RESOURCE, raw, wake))
    assert api.count(PATCH) == 1


async def test_an_address_where_nothing_listens_is_named(api: FaultApi) -> None:
    await api.stop()
    try:
        with pytest.raises(ApiUnreachable, match=f"127.0.0.1:{api.port}: nothing answers there"):
            await call(local(api), lambda client: client.list(RESOURCE))
    finally:
        await api.start()


# ---- credentials --------------------------------------------------------------------------------


async def test_a_bearer_token_is_sent(api: FaultApi) -> None:
    api.token = "hunter2"
    await call(local(api, token="hunter2"), lambda client: client.list(RESOURCE))
    with pytest.raises(AccessDenied):
        await call(local(api, token="other"), lambda client: client.list(RESOURCE))


async def test_a_credential_in_the_url_is_sent_as_basic_and_never_shown(
    api: FaultApi, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    api.kubeconfig(path)
    path.write_text(path.read_text().replace("http://", "http://local:hunter%2F2@"))
    access = read_kubeconfig(path)
    await call(access, lambda client: client.list(RESOURCE))
    expected = base64.b64encode(b"local:hunter/2").decode()
    assert api.seen[0].headers["Authorization"] == f"Basic {expected}"
    assert "hunter" not in repr(access)
    assert "hunter" not in access.server


PLUGIN = """
import json, os, sys
from pathlib import Path

calls = Path(sys.argv[1])
count = int(calls.read_text()) + 1 if calls.exists() else 1
calls.write_text(str(count))
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["kind"] == "ExecCredential" and os.environ["EXTRA"] == "yes"
status = {"token": f"token-{count}"}
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def with_plugin(api: FaultApi, tmp_path: Path, script: str = PLUGIN, **fields: Any) -> Access:
    program, path = tmp_path / "plugin.py", tmp_path / "kubeconfig"
    program.write_text(script)
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(program), str(tmp_path / "calls")],
        "env": [{"name": "EXTRA", "value": "yes"}],
        "interactiveMode": "Never",
    }
    api.kubeconfig(path)
    config = json.loads(path.read_text())
    config["users"][0]["user"] = {"exec": plugin | fields}
    path.write_text(json.dumps(config))
    return read_kubeconfig(path)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_plugin_gives_the_token(api: FaultApi, tmp_path: Path, version: str) -> None:
    api.token = "token-1"
    name = f"client.authentication.k8s.io/{version}"
    access = with_plugin(api, tmp_path, apiVersion=name)
    await call(access, lambda client: client.list(RESOURCE))
    assert (tmp_path / "calls").read_text() == "1"


async def test_a_plugin_is_asked_again_once_where_its_token_is_refused(
    api: FaultApi, tmp_path: Path
) -> None:
    api.token = "token-2"
    await call(with_plugin(api, tmp_path), lambda client: client.list(RESOURCE))
    assert (tmp_path / "calls").read_text() == "2"
    api.token = "never"
    with pytest.raises(AccessDenied):
        await call(with_plugin(api, tmp_path), lambda client: client.list(RESOURCE))
    assert (tmp_path / "calls").read_text() == "4"


# ---- weight -------------------------------------------------------------------------------------


def test_the_client_loads_nothing_heavy() -> None:
    program = "import sys, gateway.cluster.direct; print('\\n'.join(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    for heavy in ("kubernetes_asyncio", "aiohttp", "asyncio", "pydantic"):
        assert heavy not in printed
