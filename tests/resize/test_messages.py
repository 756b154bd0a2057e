"""What is said on the wire: the names to the letter, nothing odd taken, nothing of it repeated."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.resize.messages import (
    AgentDesc,
    AgentIdentification,
    AgentRequest,
    DownscaleResult,
    HealthCheck,
    IdentificationMessage,
    InformantDesc,
    LoadMetrics,
    Message,
    MetricsMethod,
    Migrate,
    MoreResources,
    MoreResourcesRequest,
    PluginResponse,
    PodName,
    Prometheus,
    RawResources,
    ResourceAmounts,
    ResourceMessage,
    ResumeAgent,
    SizeMessage,
    SuspendAgent,
    Unreadable,
    UnregisterAgent,
    decode,
)
from gateway.resize.versions import (
    INFORMANT_V1_1,
    INFORMANT_V2_0,
    PLUGIN_V1_1,
    PLUGIN_V2_0,
    InformantVersion,
    PluginVersion,
    VersionRange,
)

ID = UUID("b7c0ffee-0000-4000-8000-00000000000a")
ME = AgentIdentification(agent_id=ID)

#: Messages, and how they are on the wire.
GOLDEN: list[tuple[Message, str]] = [
    (
        AgentDesc(
            agent_id=ID,
            serve_addr="10.0.0.1:8123/agents/x",
            min_proto_version=INFORMANT_V1_1,
            max_proto_version=INFORMANT_V2_0,
        ),
        (
            f'{{"agentID":"{ID}","agentServeAddr":"10.0.0.1:8123/agents/x",'
            '"minProtoVersion":2,"maxProtoVersion":4}'
        ),
    ),
    (
        InformantDesc(
            proto_version=INFORMANT_V2_0,
            metrics_method=MetricsMethod(prometheus=Prometheus(port=9100)),
        ),
        '{"protoVersion":4,"metricsMethod":{"prometheus":{"port":9100}}}',
    ),
    (
        InformantDesc(proto_version=INFORMANT_V2_0, metrics_method=MetricsMethod()),
        '{"protoVersion":4,"metricsMethod":{}}',
    ),
    (ME, f'{{"agentID":"{ID}"}}'),
    (
        IdentificationMessage(data=ME, sequence_number=7),
        f'{{"data":{{"agentID":"{ID}"}},"sequenceNumber":7}}',
    ),
    (
        SizeMessage(data=ResourceMessage(cpu=250, memory=2**30, id=ME), sequence_number=2**64 - 1),
        (
            f'{{"data":{{"cpu":"250m","memory":"1Gi","id":{{"agentID":"{ID}"}}}},'
            '"sequenceNumber":18446744073709551615}'
        ),
    ),
    (RawResources(cpu=2000, memory=0), '{"cpu":"2","memory":"0"}'),
    (DownscaleResult(ok=False, status="too low"), '{"Ok":false,"Status":"too low"}'),
    (MoreResources(cpu=True, memory=False), '{"cpu":true,"memory":false}'),
    (
        MoreResourcesRequest(cpu=False, memory=True, expected_id=ID),
        f'{{"cpu":false,"memory":true,"expectedID":"{ID}"}}',
    ),
    (SuspendAgent(expected_id=ID), f'{{"expectedID":"{ID}"}}'),
    (ResumeAgent(expected_id=ID), f'{{"expectedID":"{ID}"}}'),
    (UnregisterAgent(was_active=True), '{"wasActive":true}'),
    (HealthCheck(), "{}"),
    (
        AgentRequest(
            proto_version=PLUGIN_V2_0,
            pod=PodName(namespace="team-a", name="box"),
            resources=ResourceAmounts(vcpus=250, mem=3),
            metrics=LoadMetrics(load1=0.5, load5=2.0),
        ),
        (
            '{"protoVersion":3,"pod":{"namespace":"team-a","name":"box"},'
            '"resources":{"vCPUs":"250m","mem":3},"metrics":{"loadAvg1M":0.5,"loadAvg5M":2.0}}'
        ),
    ),
    (
        AgentRequest(
            proto_version=PLUGIN_V1_1,
            pod=PodName(namespace="team-a", name="box"),
            resources=ResourceAmounts(vcpus=2000, mem=1),
        ),
        (
            '{"protoVersion":2,"pod":{"namespace":"team-a","name":"box"},'
            '"resources":{"vCPUs":2,"mem":1}}'
        ),
    ),
    (
        PluginResponse(
            permit=ResourceAmounts(vcpus=1000, mem=65535),
            unit=ResourceAmounts(vcpus=250, mem=1),
        ),
        '{"permit":{"vCPUs":1,"mem":65535},"resourceUnit":{"vCPUs":"250m","mem":1}}',
    ),
    (
        PluginResponse(
            permit=ResourceAmounts(vcpus=1000, mem=1),
            migrate=Migrate(),
            unit=ResourceAmounts(vcpus=250, mem=1),
        ),
        '{"permit":{"vCPUs":1,"mem":1},"migrate":{},"resourceUnit":{"vCPUs":"250m","mem":1}}',
    ),
]
KINDS = list({type(message): None for message, _ in GOLDEN})
AGENT_REQUEST = json.loads(next(text for m, text in GOLDEN if isinstance(m, AgentRequest)))

every_message = pytest.mark.parametrize(
    ("message", "written"), GOLDEN, ids=[type(message).__name__ for message, _ in GOLDEN]
)


def refused(kind: type[Message], raw: object) -> str:
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    with pytest.raises(Unreadable) as caught:
        decode(data, kind)
    return str(caught.value)


def changed(raw: Any, path: tuple[str, ...], value: object) -> Any:
    """Return a copy of the object with this field set."""
    step, *rest = path
    return raw | {step: changed(raw[step], tuple(rest), value) if rest else value}


def without(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key != name}


# ---- the names --------------------------------------------------------------------------------


@every_message
def test_a_message_is_written_with_these_names(message: Message, written: str) -> None:
    assert message.encode() == written.encode()


@every_message
def test_a_message_is_read_as_it_is_written(message: Message, written: str) -> None:
    assert decode(written.encode(), type(message)) == message


@every_message
def test_a_message_needs_all_that_it_is_written_with(message: Message, written: str) -> None:
    raw = json.loads(written)
    for name in raw:
        if name in ("metrics", "migrate"):
            decode(json.dumps(without(raw, name)).encode(), type(message))
        else:
            assert refused(type(message), without(raw, name)).endswith(f": {name}")


def test_all_that_is_missing_is_named() -> None:
    assert refused(AgentDesc, {}) == (
        "the message cannot be read: agentID, agentServeAddr, maxProtoVersion, minProtoVersion"
    )


@every_message
def test_no_name_is_known_but_that_of_the_wire(message: Message, written: str) -> None:
    raw = json.loads(written)
    for name, field in type(message).model_fields.items():
        if field.alias != name and field.is_required():
            refused(type(message), without(raw, str(field.alias)) | {name: raw[field.alias]})
    for name in raw:
        if name not in ("metrics", "migrate"):
            refused(type(message), without(raw, name) | {name.swapcase(): raw[name]})


@pytest.mark.parametrize(
    ("message", "written"), [one for one in GOLDEN if not isinstance(one[0], AgentRequest)]
)
def test_between_agent_and_informant_and_in_answers_what_is_not_known_is_passed_over(
    message: Message, written: str
) -> None:
    raw = {name: _with_more(value) for name, value in json.loads(written).items()}
    assert decode(json.dumps(_with_more(raw)).encode(), type(message)) == message


def _with_more(value: object) -> object:
    # What is permitted is reckoned in amounts that a request has too.
    is_open = isinstance(value, dict) and "vCPUs" not in value
    return value | {"x-new": [1, {"a": None}]} if is_open and isinstance(value, dict) else value


@pytest.mark.parametrize("path", [(), ("pod",), ("resources",), ("metrics",)])
def test_a_request_for_a_permit_has_nothing_that_is_not_known(path: tuple[str, ...]) -> None:
    raw = changed(AGENT_REQUEST, (*path, "<secret>"), 1)
    assert refused(AgentRequest, raw) == (
        f"the message cannot be read: {path[0] if path else 'body'} has fields that are not known"
    )


# ---- what they hold ---------------------------------------------------------------------------


def test_versions_are_read_as_such_known_or_not() -> None:
    raw = json.loads(GOLDEN[0][1]) | {"minProtoVersion": 0, "maxProtoVersion": 9}
    described = decode(json.dumps(raw).encode(), AgentDesc)
    assert described.protocols == VersionRange(InformantVersion(0), InformantVersion(9))
    assert str(described.protocols) == "<invalid: zero> to <unknown = v2.0 + 5>"
    answer = decode(b'{"protoVersion":2,"metricsMethod":{}}', InformantDesc)
    assert str(answer.version) == "v1.1"
    request = decode(json.dumps(AGENT_REQUEST | {"protoVersion": 5}).encode(), AgentRequest)
    assert str(request.version) == "<unknown = v2.0 + 2>"
    assert isinstance(request.version, PluginVersion)


@pytest.mark.parametrize(
    ("written", "milli"),
    [
        ("2", 2000),
        ("2.0", 2000),
        ('"2"', 2000),
        ('"250m"', 250),
        ("0.25", 250),
        ('"0.25"', 250),
        ("0.1", 100),
        ("1.1", 1100),
        ("1e-7", 1),
        ("1e3", 1_000_000),
        ("0", 0),
        ("4294967.295", 2**32 - 1),
    ],
)
def test_cpu_is_a_number_of_cpus_or_a_quantity(written: str, milli: int) -> None:
    amounts = f'{{"vCPUs":{written},"mem":1}}'.encode()
    assert decode(amounts, ResourceAmounts).vcpus == milli
    raw = f'{{"cpu":{written},"memory":"1Gi"}}'.encode()
    assert decode(raw, RawResources) == RawResources(cpu=milli, memory=2**30)


NO_AMOUNTS = [
    "null", "true", "false", '""', '"x"', "-1", "-0.5", '"-1"', "NaN", "Infinity", "-Infinity",
    "1e400", '"1e400"', "[]", "{}", "[1]", '"1 "', '"0x1"', "9" * 40, "9" * 400,
]  # fmt: skip


@pytest.mark.parametrize("written", [*NO_AMOUNTS, "4294967.296", "4294968", '"5M"'])
def test_cpu_is_nothing_else(written: str) -> None:
    amounts = f'{{"vCPUs":{written},"mem":1}}'.encode()
    assert refused(ResourceAmounts, amounts) == "the message cannot be read: vCPUs"
    raw = f'{{"cpu":{written},"memory":"1Gi"}}'.encode()
    assert refused(RawResources, raw) == "the message cannot be read: cpu"


@pytest.mark.parametrize(
    ("written", "count"),
    [('"1Gi"', 2**30), ('"1.5Ki"', 1536), ('"0"', 0), ("1024", 1024), (str(2**63 - 1), 2**63 - 1)],
)
def test_memory_is_a_quantity_or_a_number_of_bytes(written: str, count: int) -> None:
    raw = f'{{"cpu":"1","memory":{written}}}'.encode()
    assert decode(raw, RawResources).memory == count


@pytest.mark.parametrize("written", [*NO_AMOUNTS, "1.5", "1e3", str(2**63), '"8Ei"'])
def test_memory_is_nothing_else(written: str) -> None:
    raw = f'{{"cpu":"1","memory":{written}}}'.encode()
    assert refused(RawResources, raw) == "the message cannot be read: memory"


@pytest.mark.parametrize("written", [*NO_AMOUNTS, '"1"', "1.0", "65536"])
def test_slots_are_a_number_of_16_bits(written: str) -> None:
    refused(ResourceAmounts, f'{{"vCPUs":1,"mem":{written}}}'.encode())


@pytest.mark.parametrize("written", [one for one in NO_AMOUNTS if not one.isdecimal()] + ['"1"'])
@pytest.mark.parametrize("name", ["loadAvg1M", "loadAvg5M"])
def test_a_load_is_a_finite_number_that_is_not_negative(name: str, written: str) -> None:
    raw = f'{{"loadAvg1M":1,"loadAvg5M":0.5,"{name}":{written}}}'.encode()
    assert refused(LoadMetrics, raw) == f"the message cannot be read: {name}"


@pytest.mark.parametrize(
    ("kind", "path", "values"),
    [
        (AgentDesc, ("agentID",), (None, "", "x", 1, str(ID)[:-1], [])),
        (AgentDesc, ("agentServeAddr",), (None, "", 1, True, "x" * 513)),
        (AgentDesc, ("minProtoVersion",), (None, "2", True, -1, 2.0, 2.5, 2**32)),
        (AgentDesc, ("maxProtoVersion",), (None, "2", True, -1, 2.0, 2.5, 2**32)),
        (InformantDesc, ("protoVersion",), (None, "4", True, -1, 4.0, 2**32)),
        (InformantDesc, ("metricsMethod",), (None, 1, [], "prometheus")),
        (InformantDesc, ("metricsMethod", "prometheus"), (1, [], {}, True)),
        (InformantDesc, ("metricsMethod", "prometheus", "port"), (0, -1, 65536, "80", True, 80.0)),
        (IdentificationMessage, ("sequenceNumber",), (0, -1, None, True, "1", 1.0, 2**64)),
        (IdentificationMessage, ("data",), (None, 1, [], {})),
        (SizeMessage, ("data", "id"), (None, 1, str(ID), {})),
        (DownscaleResult, ("Ok",), (None, 0, 1, "true", [])),
        (DownscaleResult, ("Status",), (None, 0, True, [])),
        (MoreResourcesRequest, ("cpu",), (None, 0, 1, "true", [])),
        (MoreResourcesRequest, ("memory",), (None, 0, 1, "true", [])),
        (MoreResourcesRequest, ("expectedID",), (None, "", 1, "x")),
        (SuspendAgent, ("expectedID",), (None, "", 1, "x")),
        (ResumeAgent, ("expectedID",), (None, "", 1, "x")),
        (UnregisterAgent, ("wasActive",), (None, 0, 1, "true")),
        (AgentRequest, ("protoVersion",), (None, "3", True, -1, 3.0, 2**32)),
        (AgentRequest, ("pod",), (None, "team-a/box", [])),
        (AgentRequest, ("pod", "namespace"), (None, 1, True)),
        (AgentRequest, ("pod", "name"), (None, 1, True)),
        (AgentRequest, ("resources",), (None, 1, [], {})),
        (AgentRequest, ("metrics",), (1, [], {}, "none")),
        (PluginResponse, ("permit",), (None, 1, [], {})),
        (PluginResponse, ("resourceUnit",), (None, 1, [], {})),
        (PluginResponse, ("migrate",), (1, [], True)),
    ],
)
def test_nothing_is_taken_for_what_it_is_not_and_the_place_is_named(
    kind: type[Message], path: tuple[str, ...], values: tuple[object, ...]
) -> None:
    raw = json.loads(next(text for message, text in GOLDEN if type(message) is kind))
    for value in values:
        said = refused(kind, changed(raw, path, value))
        assert said.startswith(f"the message cannot be read: {'.'.join(path)}"), value


def test_the_least_and_the_most_of_each_are_taken() -> None:
    for message in (
        AgentDesc(
            agent_id=ID,
            serve_addr="x",
            min_proto_version=InformantVersion(0),
            max_proto_version=InformantVersion(2**32 - 1),
        ),
        Prometheus(port=1),
        Prometheus(port=65535),
        IdentificationMessage(data=ME, sequence_number=1),
        ResourceAmounts(vcpus=0, mem=0),
        RawResources(cpu=2**32 - 1, memory=2**63 - 1),
        LoadMetrics(load1=0.0, load5=1e308),
        DownscaleResult(ok=True, status=""),
        PodName(namespace="", name=""),
    ):
        assert decode(message.encode(), type(message)) == message


@pytest.mark.parametrize("metrics", [{"metrics": None}, {}])
def test_a_request_may_come_without_metrics(metrics: dict[str, None]) -> None:
    raw = without(AGENT_REQUEST, "metrics") | metrics
    assert decode(json.dumps(raw).encode(), AgentRequest).metrics is None


# ---- any bytes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"{", b"null", b"1", b"[]", b'"x"', b"\xff", b'{"a":"\xff"}', b'{"a":"\\ud800"}',
        b"[" * 100_000, b'{"a":' * 100_000, b"{} {}", b"{}x", b"\xef\xbb\xbf{}", b"{'a':1}",
        b'{"a":' + b"9" * 10_000 + b"}", "{}".encode("utf-16"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_no_json_object_is_no_message(kind: type[Message], data: bytes) -> None:
    refused(kind, data)


@given(st.sampled_from(KINDS), st.binary(max_size=64))
def test_no_bytes_raise_anything_but_unreadable(kind: type[Message], data: bytes) -> None:
    with suppress(Unreadable):
        decode(data, kind)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([str(ID), "250m", "1Gi", 10**4000, "9" * 100, "<script>"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@given(st.data(), st.sampled_from(GOLDEN))
def test_no_field_of_any_value_raises_anything_but_unreadable(
    data: st.DataObject, golden: tuple[Message, str]
) -> None:
    message, written = golden
    at = raw = json.loads(written)
    while at and data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(at)))
        if isinstance(at[name], dict):
            at = at[name]
            continue
        at[name] = data.draw(values)
    at[data.draw(st.text(max_size=8))] = data.draw(values)
    with suppress(Unreadable):
        read = decode(json.dumps(raw).encode(), type(message))
        assert decode(read.encode(), type(message)) == read


SECRET = "sesame-<open>"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_said_of_a_message_never_repeats_what_it_holds(kind: type[Message]) -> None:
    raw = json.loads(next(text for message, text in GOLDEN if type(message) is kind))
    bodies: list[Any] = [SECRET, [SECRET], {SECRET: SECRET}]
    bodies += [raw | {name: odd} for name in raw for odd in (SECRET, {SECRET: SECRET}, [SECRET])]
    bodies += [raw | {SECRET: SECRET}]
    said = [told for body in bodies if (told := _told_of(body, kind)) is not None]
    assert said
    assert all(SECRET not in told and len(told) < 256 for told in said)


def _told_of(body: object, kind: type[Message]) -> str | None:
    try:
        decode(json.dumps(body).encode(), kind)
    except Unreadable as error:
        return str(error)
    return None
