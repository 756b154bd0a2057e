"""Who is let through, and that refusals tell nobody what exists."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from gateway.auth.access import AccessTokens
from gateway.auth.authenticator import NoAuth
from gateway.auth.scoped import ScopedTokens, mint
from gateway.proxy.admission import Admission, Admitted
from gateway.proxy.target import Target
from gateway.sandbox.errors import (
    AmbiguousTarget,
    Forbidden,
    GatewayError,
    InvalidTarget,
    NotReady,
    SandboxNotFound,
    Unauthenticated,
)
from gateway.sandbox.model import Credential, Key, Route, State
from gateway.sandbox.registry import Registry

from .heads import make_head

if TYPE_CHECKING:
    from gateway.auth.authenticator import Authenticator

NOW = 1_700_000_000.0
KEYS = {"k1": b"1" * 32}
BOX = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.PAUSED,
    incarnation="life-1",
    ports=frozenset({80, 81}),
    credential=Credential(sha256=hashlib.sha256(b"s3cret").hexdigest()),
)
OTHER = structs.replace(BOX, key=Key("native", "team", "other"), uid="uid-2", id="team--other")
TWIN = structs.replace(BOX, key=Key("kruise", "team", "box"), uid="uid-3")

BY_ID = Target(port=80, default_port=49983, path=b"/", id="team--box")
BY_NAME = Target(port=80, default_port=8888, path=b"/", namespace="team", name="box")
UNKNOWN = replace(BY_ID, id="team--nobody")

MODES: dict[str, Authenticator] = {
    "none": NoAuth(),
    "access-token": AccessTokens(),
    "access-token, tokenless": AccessTokens(allow_tokenless=True),
    "scoped-token": ScopedTokens(KEYS),
}
GOOD = {
    b"x-access-token": [b"s3cret"],
    b"e2b-traffic-access-token": [mint(BOX.key, BOX.uid, NOW + 60, "k1", KEYS["k1"])],
}


def admit(
    *targets: Target,
    mode: str = "none",
    fields: dict[bytes, list[bytes]] | None = None,
    routes: tuple[Route, ...] = (BOX, OTHER),
    synced: bool = True,
    closed: frozenset[int] = frozenset(),
) -> Admitted:
    registry = Registry()
    for route in routes:
        registry.apply(route)
    admission = Admission(registry, MODES[mode], lambda: synced, closed_ports=closed)
    head = make_head(special=GOOD if fields is None else fields)
    return admission.admit(head, list(targets), NOW)


def refusal(*targets: Target, **how: object) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        admit(*targets, **how)  # type: ignore[arg-type]
    return caught.value


def shown(error: GatewayError) -> tuple[object, ...]:
    """Everything of an error that a client can see."""
    return type(error), error.text, error.retry_after


@pytest.mark.parametrize("mode", MODES)
def test_a_good_credential_lets_a_request_through_to_route_and_port(mode: str) -> None:
    assert admit(BY_ID, mode=mode) == Admitted(BOX, 80, BY_ID, [])


def test_credentials_that_the_sandbox_gets_are_told() -> None:
    passing = structs.replace(BOX, passes_access_token=True)
    admitted = admit(BY_ID, mode="access-token", routes=(passing,))
    assert admitted.passed_on == [b"X-Access-Token: s3cret\r\n"]


@pytest.mark.parametrize("mode", ["access-token", "access-token, tokenless", "scoped-token"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"x-access-token": [b"wrong"], b"e2b-traffic-access-token": [b"v1.wrong.wrong"]},
        {
            b"x-access-token": [b"s3cret", b"s3cret"],
            b"e2b-traffic-access-token": [
                mint(OTHER.key, OTHER.uid, NOW + 60, "k1", KEYS["k1"]),
            ],
        },
    ],
)
def test_a_bad_credential_is_answered_alike_whatever_exists(
    mode: str, fields: dict[bytes, list[bytes]]
) -> None:
    known = shown(refusal(BY_ID, mode=mode, fields=fields))
    for target, routes in [
        (UNKNOWN, (BOX,)),
        (BY_ID, (BOX, TWIN)),
        (replace(BY_ID, uid="uid-9"), (BOX,)),
        (replace(BY_ID, port=9), (BOX,)),
        (BY_ID, (structs.replace(BOX, state=State.DEAD),)),
        (BY_ID, (structs.replace(BOX, expires_at=NOW - 1),)),
    ]:
        assert shown(refusal(target, mode=mode, fields=fields, routes=routes)) == known


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("none", SandboxNotFound),
        ("access-token", Unauthenticated),
        ("access-token, tokenless", Unauthenticated),
        ("scoped-token", Forbidden),
    ],
)
def test_an_unknown_sandbox_is_not_found_only_where_nothing_is_asked_for(
    mode: str, error: type[GatewayError]
) -> None:
    assert type(refusal(UNKNOWN, mode=mode)) is error


def test_two_sandboxes_of_one_name_are_neither() -> None:
    assert type(refusal(BY_ID, routes=(BOX, TWIN))) is AmbiguousTarget
    assert type(refusal(BY_NAME, routes=(BOX, TWIN))) is AmbiguousTarget
    assert type(refusal(BY_ID, mode="access-token", routes=(BOX, TWIN))) is Unauthenticated


def test_the_uid_that_a_request_names_must_be_the_routes() -> None:
    assert admit(replace(BY_NAME, uid="uid-1")).route is BOX
    assert type(refusal(replace(BY_NAME, uid="uid-2"))) is SandboxNotFound
    assert type(refusal(replace(BY_NAME, uid=""))) is SandboxNotFound


def test_the_first_of_two_targets_counts_and_the_others_must_agree() -> None:
    assert admit(BY_ID, BY_NAME).target is BY_ID
    assert admit(BY_NAME, BY_ID).target is BY_NAME
    for other in [
        replace(BY_ID, id="team--other"),
        UNKNOWN,
        replace(BY_NAME, name="other"),
        replace(BY_NAME, uid="uid-2"),
    ]:
        assert type(refusal(BY_ID, other)) is InvalidTarget


def test_two_targets_must_name_one_port() -> None:
    either = replace(BY_NAME, port=None)
    assert type(refusal(BY_ID, replace(BY_NAME, port=81))) is InvalidTarget
    assert type(refusal(BY_ID, either)) is InvalidTarget
    one_port = structs.replace(BOX, ports=frozenset({80}))
    assert admit(BY_ID, either, routes=(one_port,)).port == 80


def test_disagreeing_targets_are_a_matter_only_for_who_may_reach_the_first() -> None:
    other = replace(BY_ID, id="team--other")
    for target in (other, UNKNOWN, BY_ID):
        refused = refusal(BY_ID, target, mode="access-token", fields={})
        assert type(refused) is Unauthenticated


def test_a_port_that_the_sandbox_does_not_allow_is_forbidden() -> None:
    assert type(refusal(replace(BY_ID, port=82))) is Forbidden
    assert type(refusal(replace(BY_ID, port=None))) is Forbidden
    assert type(refusal(BY_ID, routes=(structs.replace(BOX, ports=frozenset()),))) is Forbidden
    assert admit(replace(BY_ID, port=82), routes=(structs.replace(BOX, ports=None),)).port == 82


def test_a_closed_port_is_forbidden_whatever_the_sandbox_allows() -> None:
    for ports in (BOX.ports, None):
        open_box = (structs.replace(BOX, ports=ports),)
        assert type(refusal(BY_ID, routes=open_box, closed=frozenset({80}))) is Forbidden
        assert admit(BY_ID, routes=open_box, closed=frozenset({81})).port == 80


def test_before_the_registry_is_filled_what_is_known_is_served() -> None:
    assert admit(BY_ID, synced=False).route is BOX
    assert type(refusal(UNKNOWN, synced=False)) is NotReady


@pytest.mark.parametrize("mode", ["access-token", "access-token, tokenless", "scoped-token"])
def test_nor_does_anybody_learn_then_what_is_known_already(mode: str) -> None:
    known = refusal(BY_ID, mode=mode, fields={}, synced=False)
    unknown = refusal(UNKNOWN, mode=mode, fields={}, synced=False)
    assert shown(known) == shown(unknown)


# ---- requests that repeat their fields -----------------------------------------------------------


class Desk:
    """An admission before which the same fields come again and again."""

    def __init__(self, mode: str) -> None:
        self.registry = Registry()
        self.registry.apply(BOX)
        self.admission = Admission(self.registry, MODES[mode], lambda: True)
        self.head = make_head(special=GOOD)
        self.head.findings.targets = [BY_ID]

    def again(self, *more: Target, now: float = NOW) -> Admitted:
        """Admit a request with the fields' own target, or with others that its path names."""
        targets = self.head.findings.targets
        assert targets is not None
        return self.admission.admit(self.head, [*targets, *more] if more else targets, now)


@pytest.mark.parametrize("mode", ["none", "access-token"])
def test_the_same_fields_are_admitted_to_the_same_route_as_before(mode: str) -> None:
    desk = Desk(mode)
    assert desk.again() is desk.again()


def test_a_credential_that_changed_is_asked_for_at_once() -> None:
    desk = Desk("access-token")
    desk.again()
    other = Credential(sha256=hashlib.sha256(b"another").hexdigest())
    desk.registry.apply(structs.replace(BOX, version=2, credential=other))
    with pytest.raises(Unauthenticated):
        desk.again()


def test_a_port_that_was_closed_is_closed_at_once() -> None:
    desk = Desk("none")
    desk.again()
    desk.registry.apply(structs.replace(BOX, version=2, ports=frozenset({81})))
    with pytest.raises(Forbidden):
        desk.again()


def test_a_sandbox_that_took_the_name_is_another_one() -> None:
    desk = Desk("access-token")
    desk.again()
    desk.registry.remove(BOX.key, BOX.uid, 2)
    with pytest.raises(Unauthenticated):
        desk.again()
    desk.registry.apply(structs.replace(BOX, uid="uid-9", version=3, credential=None))
    with pytest.raises(Unauthenticated):
        desk.again()


def test_a_token_that_expired_is_no_longer_good() -> None:
    desk = Desk("scoped-token")
    desk.again(now=NOW)
    with pytest.raises(Unauthenticated):
        desk.again(now=NOW + 61)


def test_what_the_path_names_is_no_finding_about_the_fields() -> None:
    desk = Desk("none")
    desk.again(replace(BY_ID, path=b"/x"))
    assert desk.head.findings.admitted is None
    desk.again()
    with pytest.raises(InvalidTarget):
        desk.again(replace(BY_ID, port=81))


def test_that_two_schemes_agree_is_asked_each_time() -> None:
    desk = Desk("none")
    desk.head.findings.targets = [BY_ID, BY_NAME]
    desk.again()
    desk.registry.apply(structs.replace(TWIN, id="another"))
    with pytest.raises(InvalidTarget):
        desk.again()


@pytest.mark.parametrize("mode", MODES)
def test_a_sandbox_that_asks_for_a_jwt_is_forbidden_to_all_who_showed_less(mode: str) -> None:
    asking = structs.replace(BOX, requires_jwt=True)
    assert isinstance(refusal(BY_ID, mode=mode, routes=(asking,)), Forbidden)
    if mode not in ("none", "access-token, tokenless"):
        bad = shown(refusal(BY_ID, mode=mode, routes=(asking,), fields={}))
        assert bad == shown(refusal(UNKNOWN, mode=mode, fields={}))
