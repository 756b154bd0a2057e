"""`observe` on a real node: connections past the gateway keep a sandbox awake, and only those."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager, closing, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from yarl import URL

from gateway.agents.observe.conntrack import Conntrack
from gateway.agents.observe.errors import Unable
from gateway.agents.observe.netlink import NETLINK_NETFILTER
from gateway.agents.observe.observer import ObserveConfig, Observer
from gateway.sandbox.standby import IdleRules, StandbyPolicy
from gateway.standby.observers import Flows
from tests.agents.encoding import CREATE, DELETE, NEW, connection, encode
from tests.agents.replica import TOKEN, Replica, sandbox, serving

from .namespaces import rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .namespaces import Network

POD_V4, POD_V6 = "10.2.0.2", "fd00:2::2"
#: 4 KiB are the least that a socket has.
TINY_BUFFER = 4096


@asynccontextmanager
async def listening(network: Network) -> AsyncIterator[tuple[Replica, str]]:
    """Run a replica behind the node."""
    replica = Replica()
    listener = network.listen("replica", 0)
    port = listener.getsockname()[1]
    async with serving(replica, listener):
        yield replica, f"http://10.3.0.2:{port}"


@asynccontextmanager
async def observing(network: Network, tmp_path: Path, **config: Any) -> AsyncIterator[Replica]:
    """Run an observer on the node, and a replica."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with listening(network) as (replica, url):
        observer = Observer(
            ObserveConfig("node-1", URL(url), token, **{"retry_after": 0.1} | config)
        )
        task = asyncio.create_task(observer.run())
        try:
            yield replica
        finally:
            task.cancel()
            await asyncio.wait([task])


def inject(messages: Iterator[bytes]) -> None:
    """Give the kernel entries as if it had tracked them."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.setsockopt(socket.SOL_SOCKET, 32, 4 * 1024 * 1024)  # SO_SNDBUFFORCE
        while batch := b"".join(islice(messages, 100)):
            kernel.send(batch)


def injected(count: int, source: str = "10.1.{}.{}") -> list[Any]:
    """Return connections to the pod from many sources."""
    return [
        connection(source.format(number // 200 % 200, number % 200 + 1), 1024 + number, POD_V4)
        for number in range(count)
    ]


@pytest.fixture(autouse=True)
def untracked(network: Network) -> None:
    """Begin with nothing tracked."""
    subprocess.run(["conntrack", "-F"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("address", "family"), [(POD_V4, socket.AF_INET), (POD_V6, socket.AF_INET6)]
)
async def test_a_direct_connection_counts_while_it_is_open(
    network: Network, tmp_path: Path, address: str, family: int
) -> None:
    async with observing(network, tmp_path) as replica:
        route = replica.add(sandbox(address))
        with closing(network.listen("pod", 8080, family)) as listener:
            await replica.become(route, 0)
            client = network.connect("client", address, 8080)
            assert (await replica.flows(route)).count == 1
            assert replica.usage().count == 1
            # Its client ends it first: TIME_WAIT is there for two minutes, and does not count.
            server, _ = listener.accept()
            client.close()
            server.close()
            seen = await replica.become(route, 0)
            assert seen.last_seen is not None
            assert replica.usage().count == 0
            tracked = subprocess.run(
                ["conntrack", "-L", "-p", "tcp", "--state", "TIME_WAIT"]
                + ["-f", "ipv6"] * (family == socket.AF_INET6),
                check=True,
                capture_output=True,
                text=True,
            )
            assert address in tracked.stdout


@pytest.mark.parametrize(
    ("service", "address", "family"),
    [("10.9.0.1", POD_V4, socket.AF_INET), ("fd00:9::1", POD_V6, socket.AF_INET6)],
)
async def test_a_connection_to_a_service_counts_for_the_pod_that_it_was_led_to(
    network: Network, tmp_path: Path, service: str, address: str, family: int
) -> None:
    async with observing(network, tmp_path) as replica:
        route = replica.add(sandbox(address))
        with closing(network.listen("pod", 8080, family)) as listener:
            await replica.become(route, 0)
            client = network.connect("client", service, 80)
            assert (await replica.flows(route)).count == 1
            # The port that counts is the one that the workload listens on.
            policy = StandbyPolicy(True, 60, ignored_ports=(8080,))
            replica.add(sandbox(address, version=2, idle=IdleRules(policy)))
            assert (await replica.flows(route)).count == 0
            replica.add(sandbox(address, version=3))
            assert (await replica.flows(route)).count == 1
            listener.accept()[0].close()
            client.close()
            await replica.become(route, 0)


async def test_a_half_open_connection_counts(network: Network, tmp_path: Path) -> None:
    async with observing(network, tmp_path) as replica:
        route = replica.add(sandbox())
        await replica.become(route, 0)
        with closing(network.begin("client", POD_V4, 81)):
            await replica.become(route, 1)


async def test_a_refused_connection_counts_no_more(network: Network, tmp_path: Path) -> None:
    async with observing(network, tmp_path) as replica:
        route = replica.add(sandbox())
        await replica.become(route, 0)
        before = replica.usage().last
        with pytest.raises(ConnectionRefusedError):
            network.connect("client", POD_V4, 9)
        seen = await replica.become(route, 0)
        assert seen.last_seen is not None
        assert replica.usage().last > before


async def test_what_a_sandbox_opens_itself_does_not_count(network: Network, tmp_path: Path) -> None:
    async with observing(network, tmp_path) as replica:
        route, other = replica.add(sandbox()), replica.add(sandbox("10.1.0.2", "u2"))
        with closing(network.listen("client", 8080)):
            await replica.become(route, 0)
            with closing(network.connect("pod", "10.1.0.2", 8080)):
                await replica.become(other, 1)
                assert (await replica.flows(route)).count == 0


async def test_a_connection_from_before_the_observer_counts_until_it_is_gone(
    network: Network, tmp_path: Path
) -> None:
    with closing(network.listen("pod", 8080)) as listener:
        client = network.connect("client", POD_V4, 8080)
        async with observing(network, tmp_path, compare_every=0.2) as replica:
            route = replica.add(sandbox())
            await replica.become(route, 1)
            server, _ = listener.accept()
            client.close()
            server.close()
            # Of one that began when nobody listened the kernel tells nothing: it is found missing.
            subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
            await replica.become(route, 0)


async def test_whoever_asks_knows_of_every_connection_from_before_the_question(
    network: Network, tmp_path: Path
) -> None:
    async with observing(network, tmp_path) as replica:
        route = replica.add(sandbox())
        await replica.become(route, 0)
        # On this very loop: the observer has read nothing of them when it is asked.
        inject(encode(one, NEW, CREATE, timeout=600) for one in injected(3000))
        assert await replica.flows(route) == Flows(3000, None, connected=True)


async def test_a_replica_on_the_same_node_is_told(network: Network, tmp_path: Path) -> None:
    replica = Replica()
    route = replica.add(sandbox())
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with serving(replica) as url:
        observer = Observer(ObserveConfig("node-1", URL(url), token))
        task = asyncio.create_task(observer.run())
        await replica.become(route, 0)
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(("proves", "connected"), [("localhost", True), ("other.example", False)])
async def test_by_tls_a_replica_proves_the_name_that_all_have(
    network: Network, tmp_path: Path, proves: str, connected: bool
) -> None:
    authority = trustme.CA()
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(proves).configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    replica = Replica()
    route = replica.add(sandbox())
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with serving(replica, tls=served) as url:
        name = URL(url).with_host("localhost")
        task = asyncio.create_task(
            Observer(ObserveConfig("node-1", name, token, trusting, retry_after=0.1)).run()
        )
        try:
            with nullcontext() if connected else pytest.raises(AssertionError, match="connected="):
                await replica.become(route, 0, within=5 if connected else 0.5)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_fifty_thousand_connections_are_counted_and_forgotten(
    network: Network, tmp_path: Path
) -> None:
    many = injected(50_000)
    async with observing(network, tmp_path) as replica:
        route = replica.add(sandbox())
        await replica.become(route, 0)
        await asyncio.to_thread(inject, (encode(one, NEW, CREATE, timeout=600) for one in many))
        await replica.become(route, 50_000, within=30)
        subprocess.run(["conntrack", "-F"], check=True, capture_output=True)
        await replica.become(route, 0, within=30)
        assert replica.usage().count == 0


async def test_an_observer_that_begins_among_fifty_thousand_connections_has_them_all(
    network: Network, tmp_path: Path
) -> None:
    await asyncio.to_thread(
        inject, (encode(one, NEW, CREATE, timeout=600) for one in injected(50_000))
    )
    async with observing(network, tmp_path) as replica:
        route = replica.add(sandbox())
        await replica.become(route, 50_000, within=30)


async def test_after_lost_messages_everything_is_learned_anew(
    network: Network, tmp_path: Path
) -> None:
    async with observing(network, tmp_path, receive_buffer=TINY_BUFFER) as replica:
        route = replica.add(sandbox())
        await replica.become(route, 0)
        some = injected(500)
        # On this very loop, so that the observer cannot read meanwhile: the buffer must run over.
        inject(encode(one, NEW, CREATE, timeout=600) for one in some)
        await replica.become(route, 500, within=30)
        assert replica.observers._gaps.counts[()] > 0
        inject(encode(one, DELETE, 1) for one in some[:200])
        await replica.become(route, 300, within=30)


async def test_a_node_that_does_not_track_is_no_observer(network: Network, tmp_path: Path) -> None:
    untrack = "table inet untrack {\n chain output {\n type filter hook output priority -300\n"
    rule(untrack + " tcp dport 1-65535 notrack\n }\n}\n")
    try:
        async with observing(network, tmp_path) as replica:
            route = replica.add(sandbox())
            with pytest.raises(AssertionError, match="connected=False"):
                await replica.become(route, 0, within=1)
            rule("delete table inet untrack\n")
            await replica.become(route, 0)
    finally:
        subprocess.run(["nft", "delete table inet untrack"], check=False, capture_output=True)


async def test_a_kernel_that_keeps_news_to_itself_is_told_by_name(network: Network) -> None:
    switch = Path("/proc/sys/net/netfilter/nf_conntrack_events")
    before = switch.read_text()
    switch.write_text("0")
    try:
        with pytest.raises(Unable, match="nf_conntrack_events"):
            Conntrack()
    finally:
        switch.write_text(before)


# ---- the command --------------------------------------------------------------------------------


def command(url: str, token: Path, *before: str) -> subprocess.Popen[str]:
    arguments = ("observe", "--gateway", url, "--token-file", str(token), "--node", "node-1")
    return subprocess.Popen(
        [*before, sys.executable, "-m", "gateway.cli", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


async def test_the_command_needs_no_other_capability_and_observes_until_it_is_told_to_end(
    network: Network, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    async with listening(network) as (replica, url):
        route = replica.add(sandbox())
        alone = ("setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all")
        with command(url, token, *alone) as process, closing(network.listen("pod", 8080)):
            try:
                await replica.become(route, 0, within=30)
                with closing(network.connect("client", POD_V4, 8080)):
                    await replica.become(route, 1)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 10) == 0
            finally:
                process.kill()
        assert not replica.observers.active(route).connected


async def test_without_the_capability_the_command_says_what_it_lacks(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    without = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    with command("http://10.3.0.2:1", token, *without) as process:
        _, said = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 1
    assert "NET_ADMIN" in said
    assert "Traceback" not in said
