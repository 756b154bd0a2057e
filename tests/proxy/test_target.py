"""Which sandbox and port a request names, by each of the four schemes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.proxy.target import MAX_NAME, Scheme, Target, TargetConfig, TargetReader
from gateway.sandbox.errors import AmbiguousTarget, InvalidTarget, SandboxNotFound
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry

from .heads import make_head

CONFIG = TargetConfig(
    host_suffixes=("sandboxes.example", ".Other.Example."),
    host_map={"app.example": ("team--box", 3000), "bare.example": ("team--box", None)},
)
READER = TargetReader(CONFIG)

GOOD_PORTS = {"1": 1, "80": 80, "080": 80, "65535": 65535}
BAD_PORTS = ["", "0", "00000", "65536", "99999", "100000", "-1", "+80", "80@x", " 80", "8 0",
             "0x50", "8e1", "80.0", "\u0668\u0660", "\uff18\uff10", "\xb2"]  # fmt: skip
BAD_IDS = [
    "",
    "-a",
    "a-",
    ".a",
    "a.",
    "a/b",
    "a b",
    "a:b",
    "a@b",
    "a%2Fb",
    "../x",
    "\xe9",
    "x" * 254,
]


def read(target: bytes = b"/", host: bytes = b"gateway.example", **fields: Any) -> list[Target]:
    """Read a request with these fields; values are one text or many."""
    special = {b"host": [host]}
    for name, values in fields.items():
        many = [values] if isinstance(values, str) else values
        special[name.replace("_", "-").encode()] = [one.encode() for one in many]
    return READER.read(make_head(target=target, special=special))


def only(targets: list[Target]) -> Target:
    assert len(targets) == 1
    return targets[0]


# ---- E2B's headers -------------------------------------------------------------------------------


def test_e2b_headers_name_an_id_and_maybe_a_port() -> None:
    one = only(read(b"/x?y", e2b_sandbox_id="team--box"))
    assert one == Target(port=None, default_port=49983, id="team--box")
    assert only(read(e2b_sandbox_id="A.b_C-1", e2b_sandbox_port="80")).port == 80


@pytest.mark.parametrize("sandbox_id", BAD_IDS)
def test_an_id_of_e2b_that_is_malformed_is_refused(sandbox_id: str) -> None:
    with pytest.raises(InvalidTarget):
        read(e2b_sandbox_id=sandbox_id)


# ---- agent-sandbox's headers ---------------------------------------------------------------------


def test_agent_sandbox_headers_name_a_namespace_and_a_name() -> None:
    one = only(read(b"/x", x_sandbox_id="box"))
    assert one == Target(port=None, default_port=8888, namespace="default", name="box")
    one = only(
        read(
            x_sandbox_id="box",
            x_sandbox_namespace="team",
            x_sandbox_port="80",
            x_sandbox_uid="uid-1",
            x_sandbox_timeout="30",
        )
    )
    assert (one.namespace, one.port, one.uid, one.timeout) == ("team", 80, "uid-1", 30.0)


@pytest.mark.parametrize("name", [*BAD_IDS, "Box", "a.b", "a_b", "x" * 64])
def test_names_that_are_no_dns_labels_are_refused(name: str) -> None:
    with pytest.raises(InvalidTarget):
        read(x_sandbox_id=name)
    if name:
        with pytest.raises(InvalidTarget):
            read(x_sandbox_id="box", x_sandbox_namespace=name)


@pytest.mark.parametrize("timeout", ["", "0", "-1", "1.5", "1s", "1e3", "1000000", "inf", "\u0661"])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout: str) -> None:
    with pytest.raises(InvalidTarget):
        read(x_sandbox_id="box", x_sandbox_timeout=timeout)


def test_without_its_id_the_other_headers_name_nothing() -> None:
    assert read(x_sandbox_port="nonsense", x_sandbox_uid="uid-1") == []
    assert read(e2b_sandbox_port="nonsense") == []


# ---- what holds for both -------------------------------------------------------------------------

HEADERS = ["e2b-sandbox-id", "e2b-sandbox-port", "x-sandbox-id", "x-sandbox-namespace",
           "x-sandbox-port", "x-sandbox-uid", "x-sandbox-timeout"]  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("same", [True, False])
def test_a_header_that_names_the_target_must_not_be_repeated(name: str, same: bool) -> None:
    good = "1" if name.endswith(("port", "timeout")) else "box"
    fields: dict[str, Any] = {"e2b_sandbox_id" if name.startswith("e2b") else "x_sandbox_id": "box"}
    read(**{**fields, name: good})
    with pytest.raises(InvalidTarget):
        read(**{**fields, name: [good, good if same else "2"]})


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_names_the_target_is_ascii(name: str) -> None:
    fields: dict[str, Any] = {"e2b_sandbox_id" if name.startswith("e2b") else "x_sandbox_id": "box"}
    with pytest.raises(InvalidTarget):
        read(**{**fields, name: "\xe9"})


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_names_the_target_has_a_bound(name: str) -> None:
    fields: dict[str, Any] = {"e2b_sandbox_id" if name.startswith("e2b") else "x_sandbox_id": "box"}
    with pytest.raises(InvalidTarget):
        read(**{**fields, name: "1" * (MAX_NAME + 1)})


def test_a_uid_may_be_any_text_and_an_empty_one_is_not_none() -> None:
    longest = "u" * MAX_NAME
    assert only(read(x_sandbox_id="box", x_sandbox_uid=longest)).uid == longest
    assert only(read(x_sandbox_id="box", x_sandbox_uid="")).uid == ""


def test_what_is_remembered_of_one_request_is_never_anothers() -> None:
    for _ in range(2):
        assert only(read(b"/a", x_sandbox_id="box", x_sandbox_uid="u1")).uid == "u1"
        assert only(read(b"/b", x_sandbox_id="box")).uid is None
        assert only(read(b"/kruise/box/80/a", b"1.example")).path == b"/a"
        assert only(read(b"/kruise/box/80/b", b"1.example")).path == b"/b"
        with pytest.raises(InvalidTarget):
            read(e2b_sandbox_id="box", e2b_sandbox_port="0")
        assert only(read(e2b_sandbox_id="box", e2b_sandbox_port="1")).port == 1


@pytest.mark.parametrize(("text", "port"), GOOD_PORTS.items())
def test_a_port_is_a_number_in_every_scheme(text: str, port: int) -> None:
    assert only(read(e2b_sandbox_id="a", e2b_sandbox_port=text)).port == port
    assert only(read(x_sandbox_id="a", x_sandbox_port=text)).port == port
    assert only(read(host=f"{text}-a.sandboxes.example".encode())).port == port
    assert only(read(f"/kruise/a/{text}/".encode())).port == port


@pytest.mark.parametrize("text", BAD_PORTS)
def test_a_port_that_is_none_is_refused_in_every_scheme(text: str) -> None:
    with pytest.raises(InvalidTarget):
        read(e2b_sandbox_id="a", e2b_sandbox_port=text)
    with pytest.raises(InvalidTarget):
        read(x_sandbox_id="a", x_sandbox_port=text)
    with pytest.raises(InvalidTarget):
        read(host=f"{text}-a.sandboxes.example".encode())
    with pytest.raises(InvalidTarget):
        read(f"/kruise/a/{text}/".encode())


# ---- host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        b"8080-team--box.sandboxes.example",
        b"8080-TEAM--Box.Sandboxes.EXAMPLE:443",
        b"8080-team--box.other.example",
    ],
)
def test_a_host_under_a_suffix_names_port_and_id(host: bytes) -> None:
    one = only(read(b"/x?y", host))
    assert (one.id, one.port, one.path) == ("team--box", 8080, None)


@pytest.mark.parametrize(
    "label", [b"box", b"-box", b"x8080-box", b"123456-box", b"8080-", b"8080--box", b"8080-box-"]
)
def test_a_host_under_a_suffix_that_names_no_port_and_id_is_refused(label: bytes) -> None:
    with pytest.raises(InvalidTarget):
        read(host=label + b".sandboxes.example")


@pytest.mark.parametrize(
    ("host", "port"), [(b"app.example", 3000), (b"APP.example:443", 3000), (b"bare.example", None)]
)
def test_a_mapped_host_stands_for_a_sandbox(host: bytes, port: int | None) -> None:
    one = only(read(host=host))
    assert (one.id, one.port, one.default_port) == ("team--box", port, 49983)


@pytest.mark.parametrize(
    "host",
    [
        b"sandboxes.example",
        b"8080-box.sandboxes.example.evil",
        b"8080-boxsandboxes.example",
        b"x.app.example",
        b"10.0.0.7:8080",
        b"[::1]",
        b"[fd00::7]:8080",
    ],
)
def test_any_other_host_names_nothing(host: bytes) -> None:
    assert read(host=host) == []


def test_a_request_without_a_host_names_nothing_by_it() -> None:
    head = replace(make_head(), special={})
    assert READER.read(head) == []


# ---- path ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/kruise/team--box/80/", b"/"),
        (b"/kruise/team--box/80", b"/"),
        (b"/kruise/team--box/80?q=/1/2", b"/?q=/1/2"),
        (b"/kruise/team--box/80/?", b"/?"),
        (b"/kruise/team--box/80//x", b"//x"),
        (b"/kruise/team--box/80/a/../b", b"/a/../b"),
        (b"/kruise/team--box/80/%2F%00;p=1?a%20b&c=?", b"/%2F%00;p=1?a%20b&c=?"),
        (b"/kruise/team--box/80/kruise/other/81/", b"/kruise/other/81/"),
    ],
)
def test_the_path_after_id_and_port_goes_on_byte_for_byte(target: bytes, path: bytes) -> None:
    one = only(read(target))
    assert (one.id, one.port, one.path) == ("team--box", 80, path)


@pytest.mark.parametrize(
    "target",
    [
        b"/kruise/",
        b"/kruise/?x",
        b"/kruise/box",
        b"/kruise/box/",
        b"/kruise/box?/80/",
        b"/kruise//80/",
        b"/kruise/b%6Fx/80/",
        b"/kruise/box/8%30/",
        b"/kruise/box/port/",
    ],
)
def test_a_path_under_the_prefix_that_names_no_id_and_port_is_refused(target: bytes) -> None:
    with pytest.raises(InvalidTarget):
        read(target)


@pytest.mark.parametrize(
    "target", [b"/kruise", b"/kruisex/a/80/", b"/KRUISE/a/80/", b"//kruise/a/80/"]
)
def test_a_path_beside_the_prefix_names_nothing(target: bytes) -> None:
    assert read(target) == []


def test_the_prefix_may_be_another() -> None:
    reader = TargetReader(TargetConfig(path_prefix=b"/to/sandbox/"))
    assert only(reader.read(make_head(target=b"/to/sandbox/box/80/x"))).path == b"/x"


# ---- several schemes -----------------------------------------------------------------------------


def test_every_scheme_that_matches_is_told_in_order() -> None:
    found = read(
        b"/kruise/d/4/x",
        b"3-c.sandboxes.example",
        e2b_sandbox_id="a",
        e2b_sandbox_port="1",
        x_sandbox_id="b",
        x_sandbox_port="2",
    )
    assert [one.id or one.name for one in found] == ["a", "b", "c", "d"]
    assert [one.port for one in found] == [1, 2, 3, 4]
    assert [one.path for one in found] == [None] * 3 + [b"/x"]


@pytest.mark.parametrize("scheme", Scheme)
def test_a_scheme_that_is_off_is_not_looked_at(scheme: Scheme) -> None:
    reader = TargetReader(replace(CONFIG, schemes=frozenset(Scheme) - {scheme}))
    special = {
        b"host": [b"3-c.sandboxes.example"],
        b"e2b-sandbox-id": [b"a"],
        b"x-sandbox-id": [b"b"],
    }
    found = reader.read(make_head(target=b"/kruise/d/4/", special=special))
    named = {Scheme.E2B: "a", Scheme.AGENT_SANDBOX: "b", Scheme.HOST: "c", Scheme.PATH: "d"}
    del named[scheme]
    assert [one.id or one.name for one in found] == list(named.values())


def test_every_field_that_names_a_target_is_known_by_name() -> None:
    names = {name.decode() for name in CONFIG.header_names()}
    assert names == {*HEADERS, "x-sandbox-pod-ip"}


_TEXT = st.text(max_size=20).map(lambda text: text.encode())
_LIKELY = st.sampled_from(
    [b"box", b"80", b"a-b", b"80-box.sandboxes.example", b"", b"-", b":", b"0"]
)


@given(
    special=st.dictionaries(
        st.sampled_from([b"host", *(name.encode() for name in HEADERS)]),
        st.lists(_TEXT | _LIKELY | st.binary(max_size=8), min_size=1, max_size=2),
    ),
    path=_TEXT | _LIKELY | st.binary(max_size=12),
    prefixed=st.booleans(),
)
def test_any_request_names_targets_or_is_invalid(
    special: dict[bytes, list[bytes]], path: bytes, prefixed: bool
) -> None:
    head = replace(make_head(target=(b"/kruise/" if prefixed else b"/") + path), special=special)
    try:
        found = READER.read(head)
    except InvalidTarget:
        return
    for one in found:
        assert bool(one.id) != bool(one.namespace and one.name)
        assert one.port is None or 1 <= one.port <= 65535
        assert one.path is None or one.path.startswith(b"/")


# ---- the route and its port ----------------------------------------------------------------------

ROUTE = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.RUNNING,
    incarnation="life-1",
    address="10.0.0.7",
)


def test_a_target_is_found_by_id_or_by_namespace_and_name() -> None:
    registry = Registry()
    registry.apply(ROUTE)
    assert only(read(e2b_sandbox_id="team--box")).find(registry) is ROUTE
    assert only(read(x_sandbox_id="box", x_sandbox_namespace="team")).find(registry) is ROUTE
    with pytest.raises(SandboxNotFound):
        only(read(x_sandbox_id="box")).find(registry)
    registry.apply(structs.replace(ROUTE, key=Key("kruise", "team", "box"), uid="uid-2"))
    with pytest.raises(AmbiguousTarget):
        only(read(e2b_sandbox_id="team--box")).find(registry)


@pytest.mark.parametrize(
    ("named", "ports", "port"),
    [
        (80, None, 80),
        (80, frozenset({81}), 80),
        (None, None, 8888),
        (None, frozenset({81}), 81),
        (None, frozenset({81, 82}), 8888),
        (None, frozenset(), 8888),
    ],
)
def test_the_port_is_the_one_named_or_the_only_one_or_the_schemes(
    named: int | None, ports: frozenset[int] | None, port: int
) -> None:
    target = Target(port=named, default_port=8888, path=b"/", id="team--box")
    assert target.port_for(structs.replace(ROUTE, ports=ports)) == port
