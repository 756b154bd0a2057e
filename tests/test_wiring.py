"""Settings handed down: every knob reaches the part that it is for."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
from math import inf
from typing import TYPE_CHECKING, Any

import pytest

from e2e.identity import ISSUER, claims, key_set, public, token
from gateway import wiring
from gateway.auth.access import AccessTokens
from gateway.auth.authenticator import NoAuth
from gateway.auth.scoped import ScopedTokens, mint
from gateway.cluster.config import ClusterConfig
from gateway.leading import grace_of
from gateway.proxy.exchange import Timeouts
from gateway.proxy.front import FrontConfig
from gateway.proxy.handler import ProxyConfig
from gateway.proxy.limits import SPECIAL, RequestLimits
from gateway.proxy.reach import ReachConfig
from gateway.proxy.target import Scheme, TargetConfig
from gateway.proxy.uses import CountConfig
from gateway.reloading import Reloader
from gateway.replicas.calls import CallConfig
from gateway.replicas.election import ElectionConfig
from gateway.replicas.sleep import FENCE
from gateway.sandbox.errors import AuthUnavailable, Unauthenticated
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.policy import NeverCount, NeverWake
from gateway.settings import load
from gateway.standby.config import IdleConfig
from gateway.standby.postponer import PostponerConfig
from gateway.telemetry.instruments import Instruments
from gateway.wake.config import WakeConfig

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.auth.authenticator import Authenticator
    from gateway.settings import Settings

ROUTE = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.RUNNING,
    incarnation="life-1",
)


def made(**knobs: object) -> Settings:
    """Load settings from an environment with these knobs."""
    environ = {f"SBXGW_{name.upper()}": str(value) for name, value in knobs.items()}
    return load({"SBXGW_AUTH_MODE": "none", **environ})


def judge(reloader: Reloader | None = None, **knobs: object) -> Authenticator:
    """Return who judges credentials by these settings."""
    instruments = Instruments()
    reloader = reloader or Reloader(instruments)
    return wiring.credentials(made(**knobs), instruments, reloader).authenticator


def test_the_mode_of_authentication_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    assert isinstance(judge(), NoAuth)

    for tokenless in ("true", "false"):
        auth = judge(auth_mode="access-token", allow_tokenless=tokenless)
        assert isinstance(auth, AccessTokens)
        if tokenless == "true":
            assert auth.check({}, ROUTE, 0.0) == []
        else:
            with pytest.raises(Unauthenticated):
                auth.check({}, ROUTE, 0.0)

    secret = b"x" * 32
    keys = tmp_path / "keys"
    keys.write_text(f"k1:{base64.b64encode(secret).decode()}\n")
    reloader = Reloader(Instruments())
    auth = judge(reloader, auth_mode="scoped-token", scoped_token_keys_file=keys)
    assert isinstance(auth, ScopedTokens)
    signed = mint(ROUTE.key, ROUTE.uid, 60.0, "k1", secret)
    fields = {b"e2b-traffic-access-token": [signed]}
    assert auth.check(fields, ROUTE, 0.0) == []

    keys.write_text("broken")
    reloader.look()
    assert auth.check(fields, ROUTE, 0.0) == []
    keys.write_text(f"k2:{base64.b64encode(b'y' * 32).decode()}\n")
    reloader.look()
    with pytest.raises(Unauthenticated):
        auth.check(fields, ROUTE, 0.0)


async def test_jwts_are_judged_by_the_settings(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set(public("k1")))
    knobs: dict[str, Any] = {"auth_mode": "jwt", "jwt_jwks": keys, "jwt_issuer": ISSUER}
    auth = judge(**knobs, jwt_audience="us", jwt_leeway="0s")
    signed = token(claims(ROUTE.id, ROUTE.uid, 0.0, aud="us", exp=60))
    fields = {b"e2b-traffic-access-token": [signed]}
    with pytest.raises(AuthUnavailable):
        auth.check(fields, ROUTE, 0.0)
    running = asyncio.create_task(auth.run())
    try:
        await auth.prepare(fields, 0.0)
        assert auth.check(fields, ROUTE, 59.9) == []
        with pytest.raises(Unauthenticated):
            auth.check(fields, ROUTE, 60.0)
        for_others = token(claims(ROUTE.id, ROUTE.uid, 0.0, exp=60))
        with pytest.raises(Unauthenticated):
            auth.check({b"e2b-traffic-access-token": [for_others]}, ROUTE, 0.0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_browsers_are_let_in_only_where_that_was_chosen() -> None:
    knobs = {"auth_mode": "access-token", "host_suffixes": "s.example"}
    for chosen in ("true", "false"):
        settings = made(**knobs, browser_login=chosen, browser_login_parameter="t")
        login = wiring.credentials(settings, Instruments(), Reloader(Instruments())).login
        front = wiring.plane(settings, frozenset()).front
        assert (login is not None) is (chosen == "true")
        assert front.keeps_cookie is (chosen == "true")
        assert (b"cookie" in front.special_names) is (chosen == "true")


def test_the_admin_token_is_replaced_when_its_file_changes(tmp_path: Path) -> None:
    file, reloader, seen = tmp_path / "token", Reloader(Instruments()), list[str]()
    file.write_text("one")
    wiring.watch_admin_token(made(admin_token_file=file), reloader, seen.append)
    file.write_text("another\n")
    reloader.look()
    assert seen == ["another"]
    wiring.watch_admin_token(made(), reloader, seen.append)


def test_the_token_of_observers_is_replaced_when_its_file_changes(tmp_path: Path) -> None:
    file, reloader, seen = tmp_path / "token", Reloader(Instruments()), list[str]()
    file.write_text("one\n")
    settings = made(observer_token_file=file)
    assert wiring.observer_token(settings) == "one"
    assert wiring.observer_token(made()) is None
    wiring.watch_observer_token(settings, reloader, seen.append)
    wiring.watch_admin_token(settings, reloader, pytest.fail)
    file.write_text("another\n")
    reloader.look()
    assert seen == ["another"]
    wiring.watch_observer_token(made(), reloader, seen.append)


def test_targets_get_their_names_in_lower_case() -> None:
    config = wiring.targets(
        made(
            target_schemes="e2b,host",
            e2b_id_header="X-Box",
            e2b_port_header="X-Box-Port",
            e2b_default_port="1",
            agent_id_header="A-Id",
            agent_namespace_header="A-Ns",
            agent_port_header="A-Port",
            agent_uid_header="A-Uid",
            agent_timeout_header="A-Time",
            agent_default_namespace="team",
            agent_default_port="2",
            host_suffixes="Boxes.Example",
            host_map="App.Example=team--box:3000",
            path_prefix="/to",
        )
    )
    assert config == TargetConfig(
        schemes=frozenset({Scheme.E2B, Scheme.HOST}),
        e2b_id=b"x-box",
        e2b_port=b"x-box-port",
        e2b_default_port=1,
        agent_id=b"a-id",
        agent_namespace=b"a-ns",
        agent_port=b"a-port",
        agent_uid=b"a-uid",
        agent_timeout=b"a-time",
        agent_default_namespace="team",
        agent_default_port=2,
        host_suffixes=("boxes.example",),
        host_map={"app.example": ("team--box", 3000)},
        path_prefix=b"/to",
    )


def test_targets_are_named_by_default_as_existing_clients_do() -> None:
    assert wiring.targets(made()) == TargetConfig()


def test_the_front_gets_its_limits_and_all_names_that_others_read() -> None:
    config = wiring.front(
        made(
            max_uri_bytes="1KiB",
            max_header_bytes="2KiB",
            max_headers="3",
            max_body_bytes="4KiB",
            request_head_timeout="5s",
            keep_alive_timeout="6s",
            linger_timeout="7s",
            max_connections="8",
        ),
        frozenset({b"x-own"}),
    )
    assert config == FrontConfig(
        limits=RequestLimits(max_uri=1024, max_head=2048, max_headers=3, max_body=4096),
        special_names=SPECIAL | {b"x-own"},
        trusted=config.trusted,
        head_timeout=5.0,
        keep_alive_timeout=6.0,
        linger_timeout=7.0,
        max_connections=8,
    )


def test_only_peers_in_the_networks_of_proxies_are_trusted() -> None:
    trusted = wiring.front(made(trusted_proxies="10.1.0.0/16,fd00::/8"), frozenset()).trusted
    assert trusted("10.1.2.3")
    assert trusted("fd00::1")
    for address in ("10.2.0.1", "::ffff:10.1.2.3", "2001:db8::1", "", "localhost", "10.1.2"):
        assert not trusted(address)
    nobody = wiring.front(made(), frozenset()).trusted
    assert not nobody("127.0.0.1")


def test_the_plane_keeps_targets_and_credentials_apart_from_other_fields() -> None:
    settings = made(e2b_id_header="X-Box")
    config = wiring.plane(settings, frozenset({b"x-secret"}))
    assert config.front.special_names >= {b"x-box", b"x-secret", b"x-sandbox-pod-ip", *SPECIAL}
    assert config.targets == wiring.targets(settings)
    assert (config.reach, config.proxy) == (wiring.reach(settings), wiring.proxy(settings))


def test_the_port_of_informants_is_closed_where_there_may_be_some() -> None:
    for resize, closed in (("true", {10301}), ("false", set())):
        assert wiring.plane(made(resize=resize), frozenset()).closed_ports == closed


def test_reaching_gets_its_times_and_who_never_wakes() -> None:
    config = wiring.reach(
        made(
            never_wake_methods="HEAD,OPTIONS",
            never_wake_paths="/healthz,/robots.txt",
            never_wake_user_agents="kube-probe/",
            never_wake_prefetch="false",
            never_wake_upgrades="true",
            wait_timeout="1s",
            upstream_dial_timeout="20s",
            port_retry_timeout="3s",
            waiting_page_after="7s",
            address_doubt="4s",
        )
    )
    assert config == ReachConfig(
        never_wake=NeverWake(
            methods=frozenset({b"HEAD", b"OPTIONS"}),
            path_prefixes=(b"/healthz", b"/robots.txt"),
            user_agents=(b"kube-probe/",),
            prefetch=False,
            upgrades=True,
        ),
        wait_timeout=1.0,
        dial_timeout=20.0,
        port_retry_timeout=3.0,
        page_after=7.0,
        address_doubt=4.0,
    )


def test_an_exchange_gets_its_times() -> None:
    config = wiring.proxy(
        made(
            body_progress_timeout="1s",
            upstream_head_timeout="2s",
            tunnel_idle_timeout="3s",
            preserve_host="false",
        )
    )
    timeouts = Timeouts(progress=1.0, response_head=2.0, tunnel_idle=3.0)
    assert config == ProxyConfig(timeouts=timeouts, preserve_host=False)


def test_browsers_are_shown_the_operators_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<h1>$title</h1>")
    assert wiring.proxy(made(page_template_file=file)).page.template == "<h1>$title</h1>"


def test_waking_gets_its_bounds() -> None:
    config = wiring.wake(
        made(
            wake_timeout="1s",
            wake_waiters_per_sandbox="2",
            wake_waiters_total="3",
            wake_waiting_bytes="4KiB",
            wake_patches_per_second="5",
            wake_patches_burst="6",
            wake_namespace_patches_per_second="4",
            wake_namespace_patches_burst="5",
            wake_breaker_failures="9",
            wake_breaker_min="10s",
            wake_breaker_max="11s",
        )
    )
    assert config == WakeConfig(
        timeout=1.0,
        waiters_per_sandbox=2,
        waiters_total=3,
        waiting_bytes_total=4096,
        patches_per_second=5.0,
        patches_burst=6,
        namespace_patches_per_second=4.0,
        namespace_patches_burst=5,
        breaker_failures=9,
        breaker_min=10.0,
        breaker_max=11.0,
    )


def test_the_cluster_gets_what_is_watched(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text("{}")
    config = wiring.cluster(
        made(
            kubeconfig=kubeconfig,
            kube_context="here",
            namespaces="a,b",
            label_selector="x=y",
            list_page_size="1",
            watch_timeout="90s",
            watch_idle_timeout="30s",
            kube_request_timeout="4s",
            stale_after="5m",
        )
    )
    assert config == ClusterConfig(
        kubeconfig=str(kubeconfig),
        context="here",
        namespaces=("a", "b"),
        label_selector="x=y",
        list_page_size=1,
        watch_timeout=90.0,
        watch_idle_timeout=30.0,
        request_timeout=4.0,
        stale_after=300.0,
    )
    assert wiring.cluster(made()).kubeconfig is None


def test_only_one_of_several_replicas_begins_later_than_a_question_may_last(
    tmp_path: Path,
) -> None:
    (tmp_path / "token").write_text("s3cret")
    place = {"pod_name": "gw-0", "pod_namespace": "gws", "peer_selector": "app=gw"}
    token = {"admin_token_file": str(tmp_path / "token")}
    assert wiring.cluster(made(**place, **token, lease_name="sleep")).begin_after == FENCE
    assert wiring.cluster(made(**token)).begin_after == 0.0


def test_what_a_leader_begins_is_over_before_another_may_lead(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    settings = made(
        pod_name="gw-0",
        pod_namespace="gws",
        peer_selector="app=gw",
        admin_token_file=tmp_path / "token",
        lease_name="sleep",
        lease_duration="20s",
    )
    assert 1.0 < grace_of(settings) <= 20.0 - ElectionConfig(20.0).right
    assert grace_of(made()) == inf


def test_what_is_no_use_is_what_the_settings_say() -> None:
    config = wiring.count(
        made(
            uncounted_methods="HEAD,OPTIONS",
            uncounted_paths="/healthz,/metrics",
            uncounted_user_agents="probe/,Monitor",
            uncounted_pings="true",
        )
    )
    never_count = NeverCount(
        methods=frozenset({b"HEAD", b"OPTIONS"}),
        path_prefixes=(b"/healthz", b"/metrics"),
        user_agents=(b"probe/", b"Monitor"),
    )
    assert config == CountConfig(never_count=never_count, pings=False)
    by_default = wiring.count(made())
    assert by_default == CountConfig(NeverCount(), pings=True)
    settings = made(uncounted_methods="HEAD")
    assert wiring.plane(settings, frozenset()).count == wiring.count(settings)


def test_sleep_gets_its_times_and_bounds() -> None:
    knobs = {
        "standby": "true",
        "dialects": "deployment",
        "standby_concurrency": "3",
        "standby_min_uptime": "4s",
        "idle_deployments_after": "6m",
        "activity_writes_per_second": "7",
        "hold_cooldown": "2s",
    }
    config = wiring.idle(made(**knobs, idle_deployments="true"))
    assert config == IdleConfig(
        concurrency=3, min_uptime=4.0, deployments_after=360.0, notes_per_second=7.0, cooldown=2.0
    )
    assert wiring.idle(made(**knobs)).deployments_after is None
    assert wiring.idle(made()) == IdleConfig()


def test_putting_off_gets_its_cooldown_and_bound() -> None:
    config = wiring.postponing(made(hold_cooldown="2s", standby_concurrency="3"))
    assert config == PostponerConfig(cooldown=2.0, concurrency=3)
    assert wiring.postponing(made()) == PostponerConfig()


def test_other_replicas_are_called_where_and_as_this_one_is(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    settings = made(data_listen="127.0.0.1:8", admin_listen="127.0.0.1:9", admin_token_file=file)
    assert wiring.calls(settings) == CallConfig(port=9, token="s3cret")
    assert wiring.calls(made()).token is None


def test_the_admin_listener_gets_its_address_and_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    config = wiring.admin(made(admin_listen="127.0.0.1:9", admin_token_file=file))
    assert (config.host, config.port, config.token) == ("127.0.0.1", 9, "s3cret")
    assert wiring.admin(made()).token is None


@pytest.mark.parametrize(
    ("level", "number"), [("debug", logging.DEBUG), ("warning", logging.WARNING)]
)
def test_the_log_gets_its_level_and_form(level: str, number: int) -> None:
    config = wiring.log(made(log_level=level, log_format="text"))
    assert (config.level, config.json) == (number, False)
    assert wiring.log(made()).json


def test_networks_arrive_as_networks() -> None:
    settings = made(upstream_allow_cidrs="10.0.0.0/8", upstream_deny_cidrs="fd00::/8")
    assert settings.upstream_allow_cidrs == (ipaddress.ip_network("10.0.0.0/8"),)
    assert settings.upstream_deny_cidrs == (ipaddress.ip_network("fd00::/8"),)
