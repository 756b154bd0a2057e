"""Replicas that ask each other over real sockets, each with its own admin server."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web

from gateway.admin.peers import PeerRoutes
from gateway.admin.readiness import Readiness
from gateway.admin.server import AdminConfig, AdminServer
from gateway.cluster.pods import Pod
from gateway.replicas.calls import CallConfig, Calls
from gateway.replicas.gate import Gate
from gateway.replicas.peers import Alone, Peers, PeerUse, Verdict
from gateway.replicas.sleep import ASKING, Word
from gateway.replicas.wire import Item, Outcome
from gateway.sandbox.activity import Activity
from gateway.sandbox.errors import ApiUnavailable, ClusterError
from gateway.sandbox.model import Key
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments
from gateway.tls.contexts import Context, KeyPair, PeerFiles, ServerFiles
from gateway.tls.server import TlsServer, handshake_counter
from tests.sandbox.routes import KEY, make_route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.sandbox.model import Route

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

UID, TOKEN = "uid-1", "a-token-for-replicas"
ITEM = Item(KEY, UID, 60.0)
LOOPBACK = "127.0.9."


async def nothing(_: Route) -> Mapping[str, object]:
    return {}


class Replica:
    """One that serves what others ask. It knows one sandbox, unused for two minutes."""

    def __init__(self, number: int) -> None:
        self.name, self.address = f"gateway-{number}", f"{LOOPBACK}{number}"
        self.now = 1000.0
        self.activity, self.registry = Activity(), Registry()
        self.gate = Gate(self.activity, self.registry, self.claim, lambda: self.now)
        self.registry.subscribe(
            lambda before, after: self.activity.heed(before, after, self.now - 120.0, 0.0)
        )
        self.registry.subscribe(self.gate.heed)
        self.registry.apply(make_route())

    async def claim(self, key: Key, uid: str) -> None:
        raise AssertionError("nobody waits here")

    @asynccontextmanager
    async def serving(self, port: int = 0, tls: TlsServer | None = None) -> AsyncIterator[int]:
        server = AdminServer(
            AdminConfig(self.address, port, TOKEN),
            Instruments(),
            self.registry,
            lambda: Readiness(synced=True, stale=False, draining=False),
            nothing,
            parts=[PeerRoutes(self.gate, self.name)],
            tls=tls,
        )
        _, taken = await server.start()
        try:
            yield taken
        finally:
            await server.stop()


class Fleet:
    """The first replica asks; `pods` is what the API says, a ClusterError that it fails."""

    def __init__(self, replicas: Sequence[Replica], port: int, calls: Calls) -> None:
        self.replicas, self.port, self.calls = replicas, port, calls
        self.pods: list[Pod] | ClusterError = [Pod(one.name, one.address) for one in replicas]
        self.latency = 0.0
        self.instruments = Instruments()
        self.peers = Peers(replicas[0].name, replicas[0].gate, self, calls, self.instruments)

    async def living(self) -> Sequence[Pod]:
        if isinstance(self.pods, ClusterError):
            raise self.pods
        await asyncio.sleep(self.latency)
        return self.pods

    async def ask(self, question: str = "q1") -> Verdict:
        return (await self.peers.ask(question, [ITEM]))[UID]

    def counts(self) -> dict[str, float]:
        found = next(one for one in self.instruments.collect() if "questions" in one.name)
        return {
            one.labels["outcome"]: one.value
            for one in found.samples
            if one.name.endswith("_total") and one.value
        }


@asynccontextmanager
async def fleet(
    size: int = 3, tls: Callable[[], TlsServer] | None = None, files: PeerFiles | None = None
) -> AsyncIterator[Fleet]:
    replicas = [Replica(number) for number in range(1, size + 1)]
    async with AsyncExitStack() as stack:
        port = 0
        for one in replicas:
            served = one.serving(port, None if tls is None else tls())
            port = await stack.enter_async_context(served)
        config = CallConfig(port, TOKEN)
        context = None if files is None else files.context
        calls = await stack.enter_async_context(Calls(config, context))
        yield Fleet(replicas, port, calls)


@asynccontextmanager
async def impostor(fleet: Fleet, handle: Handler, number: int = 9) -> AsyncIterator[Pod]:
    """Something else that answers where a replica should."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, f"{LOOPBACK}{number}", fleet.port).start()
        yield Pod("gateway-9", f"{LOOPBACK}{number}")
    finally:
        await runner.cleanup()


def shut(replicas: Sequence[Replica]) -> list[bool]:
    return [one.gate.is_shut(UID) for one in replicas]


# ---- asking -----------------------------------------------------------------------------------


async def test_when_nobody_has_used_it_a_standby_is_granted_and_all_gates_are_shut() -> None:
    async with fleet() as all_:
        assert await all_.ask() == Verdict(True)
        assert shut(all_.replicas) == [True, True, True]
        assert all_.counts() == {"granted": 1}


@pytest.mark.parametrize("user", [0, 2])
async def test_who_has_used_it_last_says_when_and_the_asker_tells_who_that_was(user: int) -> None:
    async with fleet() as all_:
        replica = all_.replicas[user]
        replica.activity.enter(UID, 0.0).leave(replica.now - 12.5)
        assert await all_.ask() == Verdict(False, 12.5, f"gateway-{user + 1}: used")
        assert all_.counts() == {"used": 1}


async def test_what_we_use_ourselves_is_asked_of_nobody_else() -> None:
    async with fleet() as all_:
        all_.replicas[0].activity.enter(UID, 0.0)
        assert (await all_.ask()).used_ago == 0.0
        assert shut(all_.replicas) == [False, False, False]


async def test_a_replica_that_does_not_know_it_says_no_but_not_that_it_was_used() -> None:
    async with fleet() as all_:
        all_.replicas[1].registry.remove(KEY, UID, 2)
        assert await all_.ask() == Verdict(False, None, "gateway-2: unknown")


async def test_of_many_sandboxes_each_gets_its_own_verdict() -> None:
    async with fleet() as all_:
        items = [ITEM, Item(KEY, "uid-of-nobody", 1.0), Item(KEY, UID + "x" * 200, 1.0)]
        verdicts = await all_.peers.ask("q1", items)
        assert [verdicts[item.uid].granted for item in items] == [True, False, False]
        many = [Item(KEY, f"{number:0>253}", 1.0) for number in range(64)]
        all_.replicas[0].gate.ask = lambda *_: Word.UNUSED  # type: ignore[method-assign]
        verdicts = await all_.peers.ask("q2", many)
        assert {one.why for one in verdicts.values()} == {"gateway-2: unknown"}


async def test_only_one_question_at_a_time_is_granted() -> None:
    async with fleet() as all_:
        assert (await all_.ask("q1")).granted
        assert await all_.ask("q2") == Verdict(False, None, "gateway-1: asked")


# ---- who is asked -----------------------------------------------------------------------------


async def test_an_only_replica_asks_itself() -> None:
    async with fleet(size=1) as all_:
        replica = all_.replicas[0]
        peers = Peers(replica.name, replica.gate, Alone(replica.name), all_.calls, Instruments())
        assert (await peers.ask("q1", [ITEM]))[UID].granted
        await peers.settle("q1", [Outcome(KEY, UID, None, True)])
        assert await peers.uses(UID) == [PeerUse("gateway-1", 0, 120.0)]


async def test_where_the_api_does_not_say_who_they_are_nobody_is_asked() -> None:
    async with fleet() as all_:
        all_.pods = ApiUnavailable("down")
        verdict = await all_.ask()
        assert not verdict.granted
        assert verdict.used_ago is None
        assert "ApiUnavailable" in verdict.why
        assert shut(all_.replicas) == [False, False, False]
        assert all_.counts() == {"peers_unknown": 1}


async def test_an_api_that_hangs_is_waited_for_no_longer_than_is_safe() -> None:
    async with fleet() as all_, asyncio.timeout(30 * ASKING):
        all_.latency = 3600.0
        verdict = await all_.ask()
        assert not verdict.granted
        assert "TimeoutError" in verdict.why
        assert shut(all_.replicas) == [False, False, False]


async def test_a_selector_that_misses_our_own_pod_may_miss_others() -> None:
    async with fleet() as all_:
        assert isinstance(all_.pods, list)
        for pods in ([], all_.pods[1:]):
            all_.pods = pods
            verdict = await all_.ask()
            assert not verdict.granted
            assert "peer_selector" in verdict.why


async def test_a_pod_without_an_address_is_not_waited_for() -> None:
    async with fleet() as all_:
        assert isinstance(all_.pods, list)
        all_.pods.append(Pod("gateway-new", None))
        assert (await all_.ask()).granted


async def test_a_pod_that_is_gone_counts_no_more() -> None:
    async with fleet() as all_:
        assert isinstance(all_.pods, list)
        all_.replicas[2].activity.enter(UID, 0.0)
        del all_.pods[2]
        assert (await all_.ask()).granted
        assert all_.peers.addresses == {all_.replicas[1].address}


# ---- silence ----------------------------------------------------------------------------------


async def test_a_replica_that_is_not_there_keeps_all_awake_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fleet() as all_:
        assert isinstance(all_.pods, list)
        all_.pods.append(Pod("gateway-9", f"{LOOPBACK}9"))
        with caplog.at_level(logging.INFO):
            for question in ("q1", "q2", "q3"):
                assert await all_.ask(question) == Verdict(False, None, "gateway-9: silent")
                await all_.peers.settle(question, [Outcome(KEY, UID, None, True)])
            assert [one.levelname for one in caplog.records] == ["WARNING"]
            assert set(all_.calls.silent) == {"gateway-9"}
            assert all_.counts() == {"silent": 3}
            late = Replica(9)
            async with late.serving(all_.port):
                assert (await all_.ask("q4")).granted
            assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]
            assert all_.calls.silent == {}


async def test_the_silence_of_a_replica_that_is_gone_is_forgotten() -> None:
    async with fleet() as all_:
        assert isinstance(all_.pods, list)
        all_.pods.append(Pod("gateway-9", f"{LOOPBACK}9"))
        await all_.ask("q1")
        await all_.peers.settle("q1", [Outcome(KEY, UID, None, True)])
        del all_.pods[-1]
        assert (await all_.ask("q2")).granted
        assert all_.calls.silent == {}


async def hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def test_a_replica_that_hangs_is_waited_for_no_longer_than_is_safe() -> None:
    async with fleet() as all_, impostor(all_, hangs) as pod:
        assert isinstance(all_.pods, list)
        all_.pods.append(pod)
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(30 * ASKING):
            assert await all_.ask() == Verdict(False, None, "gateway-9: silent")
        assert asyncio.get_running_loop().time() - began >= 0.9 * ASKING


YES = b'{"protocol":1,"replica":"gateway-9","answers":{"uid-1":"unused"}}'


def says(body: bytes, status: int = 200, **headers: str) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers=headers)

    return handle


async def test_an_answer_in_the_words_of_the_protocol_is_taken_from_whoever_holds_the_place() -> (
    None
):
    async with fleet() as all_, impostor(all_, says(YES)) as pod:
        assert isinstance(all_.pods, list)
        all_.pods.append(pod)
        assert (await all_.ask()).granted


@pytest.mark.parametrize(
    "handle",
    [
        says(YES, 201),
        says(YES, 401),
        says(YES, 307, Location="/elsewhere"),
        says(YES.replace(b'"protocol":1', b'"protocol":2')),
        says(YES.replace(b'"protocol":1,', b"")),
        says(YES.replace(b"gateway-9", b"gateway-2")),
        says(YES.replace(b"uid-1", b"uid-2")),
        says(YES.replace(b"unused", b"perhaps")),
        says(YES.replace(b'"unused"', b"-1.0")),
        says(YES.replace(b'"unused"', b"NaN")),
        says(YES.replace(b'"unused"', b"null")),
        says(b""),
        says(b"\xff\xfe"),
        says(b"[" * 100_000),
        says(YES + b" " * 300_000),
    ],
)
async def test_every_other_answer_is_a_no(handle: Handler) -> None:
    async with fleet(size=1) as all_, impostor(all_, handle) as pod:
        assert isinstance(all_.pods, list)
        all_.pods.append(pod)
        assert await all_.ask() == Verdict(False, None, "gateway-9: silent")


async def test_a_replica_with_another_token_is_silent_until_ours_is_the_same() -> None:
    async with fleet() as all_:
        all_.calls.replace_token("an-older-one")
        assert not (await all_.ask("q1")).granted
        assert "401" in all_.calls.silent["gateway-2"]
        await all_.peers.settle("q1", [Outcome(KEY, UID, None, True)])
        all_.calls.replace_token(TOKEN)
        assert (await all_.ask("q2")).granted


# ---- what came of it --------------------------------------------------------------------------


async def test_all_hear_what_came_of_it() -> None:
    async with fleet() as all_:
        await all_.ask()
        await all_.peers.settle("q1", [Outcome(KEY, UID, 7, True)])
        assert shut(all_.replicas) == [True, True, True]
        for one in all_.replicas:
            one.registry.apply(make_route(version=7))
        assert shut(all_.replicas) == [False, False, False]


async def test_who_is_not_reached_by_the_word_disturbs_nobody_else() -> None:
    async with fleet() as all_:
        await all_.ask()
        assert isinstance(all_.pods, list)
        all_.pods.insert(0, Pod("gateway-9", f"{LOOPBACK}9"))
        await all_.peers.uses(UID)
        await all_.peers.settle("q1", [Outcome(KEY, UID, None, True)])
        assert shut(all_.replicas) == [False, False, False]


async def test_how_each_uses_a_sandbox_is_told_and_who_is_silent() -> None:
    async with fleet() as all_:
        assert isinstance(all_.pods, list)
        all_.replicas[1].activity.enter(UID, 0.0)
        all_.replicas[2].registry.remove(KEY, UID, 2)
        all_.pods.append(Pod("gateway-9", f"{LOOPBACK}9"))
        told = [
            PeerUse("gateway-1", 0, 120.0),
            PeerUse("gateway-2", 1, 0.0),
            PeerUse("gateway-3", 0, None),
            PeerUse("gateway-9", 0, None, silent=True),
        ]
        assert await all_.peers.uses(UID) == told
        all_.pods = ApiUnavailable("down")
        assert await all_.peers.uses(UID) == told
        assert shut(all_.replicas) == [False, False, False]


async def test_who_leaves_tells_all_others_what_was_used_there() -> None:
    async with fleet() as all_:
        first, *others = all_.replicas
        first.activity.enter(UID, first.now).leave(first.now - 7.0)
        await all_.peers.take_leave()
        assert [one.gate.use(UID).unused_for for one in others] == [7.0, 7.0]
        await all_.peers.take_leave()
        others[0].activity.enter(UID, first.now)
        assert others[0].gate.use(UID).unused_for == 0.0


async def test_a_farewell_tells_of_the_last_used_and_never_makes_a_use_older() -> None:
    replica = Replica(1)
    replica.registry.apply(make_route(key=Key("native", "team", "b"), uid="uid-2", id="b"))
    replica.activity.enter("uid-2", replica.now).leave(replica.now - 1.0)
    assert replica.gate.bequest(1) == {"uid-2": 1.0}
    replica.gate.inherit({UID: 500.0, "uid-2": 500.0, "nobody": 1.0})
    assert replica.gate.use(UID).unused_for == 120.0
    assert replica.gate.use("uid-2").unused_for == 1.0


async def test_a_farewell_that_nobody_hears_ends() -> None:
    async with fleet() as all_:
        assert isinstance(all_.pods, list)
        all_.pods = [all_.pods[0], Pod("gateway-9", f"{LOOPBACK}9")]
        await all_.peers.take_leave()
        all_.pods = ApiUnavailable("down")
        await all_.peers.take_leave()


# ---- over TLS ---------------------------------------------------------------------------------


def pair(folder: Path, name: str, authority: trustme.CA) -> KeyPair:
    folder.mkdir(exist_ok=True)
    certificate = authority.issue_cert(name)
    made = KeyPair(folder / "tls.crt", folder / "tls.key")
    made.certificate.write_bytes(b"".join(one.bytes() for one in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(made.key)
    return made


def server_of(files: ServerFiles) -> TlsServer:
    context = Context(files)
    context.reload()
    return TlsServer(context, handshake_counter(Instruments()), "admin", 5.0)


@pytest.mark.parametrize("client_ca", [False, True])
async def test_over_tls_whoever_holds_our_own_certificate_is_believed(
    tmp_path: Path, client_ca: bool
) -> None:
    authority = trustme.CA()
    own = pair(tmp_path, "admin.example", authority)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    files = ServerFiles(own, tmp_path / "ca.crt" if client_ca else None)
    async with fleet(tls=lambda: server_of(files), files=PeerFiles(own)) as all_:
        assert await all_.ask() == Verdict(True)


async def test_over_tls_another_certificate_of_the_same_authority_is_not_believed(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    own = pair(tmp_path / "own", "admin.example", authority)
    other = ServerFiles(pair(tmp_path / "other", "admin.example", authority))
    async with fleet(tls=lambda: server_of(other), files=PeerFiles(own)) as all_:
        assert await all_.ask() == Verdict(False, None, "gateway-2: silent")
        assert "Certificate" in all_.calls.silent["gateway-2"]
