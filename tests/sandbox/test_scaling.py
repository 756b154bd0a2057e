"""How large a sandbox may be: what is taken, what goes by default, all that is wrong at once."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.scaling import Boost, Scaling, ScalingError, Size, parse_scaling

MI = 1024**2
GI = 1024**3

BOUNDS: dict[str, Any] = {"min": {"cpu": "250m", "mem": "512Mi"}, "max": {"cpu": "2", "mem": "4Gi"}}
SCALING = Scaling(low=Size(250, 512 * MI), high=Size(2000, 4 * GI))


def parse(bounds: object = BOUNDS, config: object = None) -> Scaling:
    return parse_scaling(json.dumps(bounds), None if config is None else json.dumps(config))


def bounds(low: object = BOUNDS["min"], high: object = BOUNDS["max"], **more: object) -> object:
    return {"min": low, "max": high, **more}


def refused(bounds: object = BOUNDS, config: object = None) -> tuple[str, str]:
    """Return what is said of the bounds and of the configuration."""
    with pytest.raises(ScalingError) as caught:
        parse(bounds, config)
    return caught.value.bounds, caught.value.config


# ---- what is taken ----------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, "", "{}"])
def test_without_a_configuration_the_defaults_go(config: str | None) -> None:
    scaling = parse_scaling(json.dumps(BOUNDS), config)
    assert scaling == SCALING
    assert (scaling.load_target, scaling.memory_target, scaling.slot) == (0.9, 0.75, 512 * MI)
    assert scaling.floor is None
    assert scaling.boost is None


def test_everything_may_be_configured() -> None:
    config = {
        "loadAverageFractionTarget": 1.5,
        "memoryUsageFractionTarget": 0.5,
        "memorySlotSize": "256Mi",
        "idleFloor": {"cpu": "50m", "mem": "256Mi"},
        "wakeBoost": {"cpu": "2", "mem": "2Gi", "for": "1m30s"},
        "separateUnits": True,
    }
    assert parse(config=config) == Scaling(
        low=SCALING.low,
        high=SCALING.high,
        load_target=1.5,
        memory_target=0.5,
        slot=256 * MI,
        floor=Size(50, 256 * MI),
        boost=Boost(Size(2000, 2 * GI), 90.0),
        separate=True,
    )


def test_a_field_of_the_configuration_that_is_null_is_not_configured() -> None:
    names = (
        "loadAverageFractionTarget", "memoryUsageFractionTarget", "memorySlotSize", "idleFloor",
        "wakeBoost", "separateUnits",
    )  # fmt: skip
    assert parse(config=dict.fromkeys(names)) == SCALING


@pytest.mark.parametrize(
    ("cpu", "milli"),
    [("1", 1000), (1, 1000), (0.25, 250), ("1500m", 1500), ("1e0", 1000), (1e-9, 1)],
)
def test_an_amount_is_a_quantity_or_a_number(cpu: object, milli: int) -> None:
    assert parse(bounds({"cpu": cpu, "mem": 512 * MI})).low == Size(milli, 512 * MI)


def test_the_bounds_may_leave_no_room() -> None:
    assert parse(bounds(BOUNDS["max"])).low == Size(2000, 4 * GI)


def test_the_idle_floor_may_be_below_the_least() -> None:
    floor = {"cpu": "1m", "mem": "1Mi"}
    config = {"memorySlotSize": "1Mi", "idleFloor": floor}
    assert parse(config=config).floor == Size(1, MI)


@pytest.mark.parametrize("value", ["true", 1, 0, "", []])
def test_a_switch_is_true_or_false_and_nothing_like_it(value: object) -> None:
    told = "separateUnits must be true or false"
    assert refused(config={"separateUnits": value}) == ("", told)


@pytest.mark.parametrize("target", [1.999, 1, 0.001])
def test_a_load_target_is_over_0_and_below_2(target: float) -> None:
    assert parse(config={"loadAverageFractionTarget": target}).load_target == target


def test_a_size_has_65535_slots_at_most() -> None:
    most = bounds(high={"cpu": "2", "mem": "65535Mi"})
    too_much = bounds(high={"cpu": "2", "mem": "64Gi"})
    config = {"memorySlotSize": "1Mi"}
    assert parse(most, config).high.memory == 65535 * MI
    assert refused(too_much, config) == ("max.mem must be 65535 times 1Mi at most", "")


def test_a_size_has_32_bits_of_milli_cpus_at_most() -> None:
    assert parse(bounds(high={"cpu": "4294967295m", "mem": "4Gi"})).high.cpu == 2**32 - 1
    told = refused(bounds(high={"cpu": "4294967296m", "mem": "4Gi"}))
    assert told == ("max.cpu must be 4294967295m at most", "")


# ---- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", ["", "{", "null", "true", "1", "[]", '"min"', '{"min": 1, "min": 2}', "[" * 100_000]
)
def test_what_is_no_json_object_is_refused_and_it_is_told_which(written: str) -> None:
    said = "must be a JSON object that names each field once"
    with pytest.raises(ScalingError) as caught:
        parse_scaling(written, None)
    assert caught.value.bounds == f"{said}; min must have cpu and mem; max must have cpu and mem"
    assert caught.value.config == ""
    if written:
        with pytest.raises(ScalingError) as caught:
            parse_scaling(json.dumps(BOUNDS), written)
        assert (caught.value.bounds, caught.value.config) == ("", said)


AMOUNTS = [("min", "cpu"), ("min", "mem"), ("max", "cpu"), ("max", "mem")]


@pytest.mark.parametrize(
    "amount",
    [
        None, "", 0, "0", "0m", -1, "-1", True, False, "one", "1K", [], {}, ["1"], 1e400, "9e30",
        10**50, 10**4000,
    ],
)  # fmt: skip
@pytest.mark.parametrize(("end", "name"), AMOUNTS)
def test_every_amount_of_the_bounds_has_to_be_there_and_over_0(
    end: str, name: str, amount: object
) -> None:
    changed = BOUNDS | {end: BOUNDS[end] | {name: amount}}
    told = f"{end}.{name} must be an amount over 0, such as 500m or 1Gi"
    assert refused(changed) == (told, "")
    del changed[end][name]
    assert refused(changed) == (told, "")


@pytest.mark.parametrize("size", [None, 1, "2", [], ["cpu", "mem"], True])
def test_a_bound_that_is_no_object_is_refused(size: object) -> None:
    assert refused(bounds(low=size)) == ("min must have cpu and mem", "")
    assert refused(bounds(high=size)) == ("max must have cpu and mem", "")


def test_what_is_not_known_is_refused_and_named_at_its_place() -> None:
    odd = {"cpu": "1", "mem": "1Gi", "memory": "1Gi"}
    config = {"slot": "1Gi", "idleFloor": odd, "wakeBoost": odd | {"for": "1m"}}
    assert refused(bounds(odd, mid={}), config) == (
        "'mid' is not known; min.'memory' is not known",
        "'slot' is not known; idleFloor.'memory' is not known; wakeBoost.'memory' is not known",
    )


@pytest.mark.parametrize("target", [0, 2, 2.5, -0.5, True, False, "0.9", [], 10**400])
def test_a_load_target_that_is_none_is_refused(target: object) -> None:
    told = "loadAverageFractionTarget must be a number over 0 and below 2"
    assert refused(config={"loadAverageFractionTarget": target}) == ("", told)


@pytest.mark.parametrize("target", [0, 1, 1.5, -0.5, True, False, "0.7", {}])
def test_a_memory_target_that_is_none_is_refused(target: object) -> None:
    told = "memoryUsageFractionTarget must be a number over 0 and below 1"
    assert refused(config={"memoryUsageFractionTarget": target}) == ("", told)


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity"])
def test_a_target_is_a_number_of_json(written: str) -> None:
    with pytest.raises(ScalingError, match="must be a number"):
        parse_scaling(json.dumps(BOUNDS), f'{{"loadAverageFractionTarget": {written}}}')


@pytest.mark.parametrize("slot", [0, "0", "", True, "odd", -1])
def test_a_slot_that_is_none_is_refused_and_nothing_is_counted_in_it(slot: object) -> None:
    told = "memorySlotSize must be an amount over 0, such as 500m or 1Gi"
    assert refused(config={"memorySlotSize": slot}) == ("", told)


@pytest.mark.parametrize("lasting", [None, "", 0, 60, "0s", "-1m", "soon", True])
def test_a_boost_lasts_for_a_time(lasting: object) -> None:
    boost = {"cpu": "2", "mem": "4Gi", "for": lasting}
    told = "wakeBoost.for must be a duration over 0, such as 1m"
    assert refused(config={"wakeBoost": boost}) == ("", told)


def test_a_boost_may_be_as_short_as_can_be() -> None:
    boost = parse(config={"wakeBoost": {"cpu": "2", "mem": "4Gi", "for": "1ns"}}).boost
    assert boost == Boost(SCALING.high, 1e-9)


def test_no_size_may_exceed_the_most() -> None:
    much = {"cpu": "3", "mem": "5Gi"}
    assert refused(bounds(low=much)) == (
        "min.cpu must not exceed max.cpu; min.mem must not exceed max.mem",
        "",
    )
    said, also = refused(config={"idleFloor": much, "wakeBoost": much | {"for": "1m"}})
    assert said == ""
    assert also.split("; ") == [
        "idleFloor.cpu must not exceed max.cpu",
        "idleFloor.mem must not exceed max.mem",
        "wakeBoost.cpu must not exceed max.cpu",
        "wakeBoost.mem must not exceed max.mem",
    ]


def test_all_memory_is_in_whole_slots() -> None:
    odd = {"cpu": "1", "mem": "513Mi"}
    config = {"idleFloor": odd, "wakeBoost": odd | {"for": "1m"}}
    assert refused(bounds(odd, odd), config) == (
        "min.mem must be a multiple of 512Mi; max.mem must be a multiple of 512Mi",
        "idleFloor.mem must be a multiple of 512Mi; wakeBoost.mem must be a multiple of 512Mi",
    )


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = {"min": {"cpu": "3", "mem": "x"}, "max": {"cpu": "2"}, "mid": 1}
    config = {"memorySlotSize": "x", "loadAverageFractionTarget": 2, "idleFloor": {"cpu": 3}}
    said, also = refused(wrong, config)
    amount = "must be an amount over 0, such as 500m or 1Gi"
    assert said.split("; ") == [
        "'mid' is not known",
        f"min.mem {amount}",
        f"max.mem {amount}",
        "min.cpu must not exceed max.cpu",
    ]
    assert also.split("; ") == [
        "loadAverageFractionTarget must be a number over 0 and below 2",
        f"memorySlotSize {amount}",
        f"idleFloor.mem {amount}",
        "idleFloor.cpu must not exceed max.cpu",
    ]


def test_the_whole_text_of_an_error_has_both_parts() -> None:
    with pytest.raises(ScalingError, match=r"^min must have cpu and mem; 'x' is not known$"):
        parse(bounds(low=None), {"x": 1})


def test_what_is_said_is_no_longer_than_it_helps() -> None:
    said, also = refused(bounds(**{"x" * 300 + str(i): 1 for i in range(300)}), {"y" * 5000: 1})
    assert len(said) == 1024
    assert len(also) < 100


# ---- any text ---------------------------------------------------------------------------------

amounts = st.sampled_from(["1", "250m", "512Mi", "1Gi", 1, 0.5, 0, "x", None, True]) | st.integers()
sizes = st.dictionaries(st.sampled_from(["cpu", "mem", "for", "x"]), amounts, max_size=4)
fields = [
    "min", "max", "loadAverageFractionTarget", "memoryUsageFractionTarget", "memorySlotSize",
    "idleFloor", "wakeBoost", "separateUnits",
]  # fmt: skip
objects = st.dictionaries(st.sampled_from(fields) | st.text(max_size=3), sizes | amounts)
texts = st.text(max_size=20) | objects.map(json.dumps)


@given(texts, st.none() | texts)
def test_no_text_at_all_raises_anything_else(bounds: str, config: str | None) -> None:
    with suppress(ScalingError):
        parse_scaling(bounds, config)


good_sizes = st.builds(
    lambda cpu, slots: {"cpu": cpu, "mem": slots}, st.integers(1, 64_000), st.integers(1, 512)
)


def written(size: dict[str, int], **more: str) -> dict[str, str]:
    return {"cpu": f"{size['cpu']}m", "mem": f"{size['mem'] * 512}Mi"} | more


@given(good_sizes, good_sizes)
def test_no_size_of_any_kind_may_exceed_the_most(
    some: dict[str, int], most: dict[str, int]
) -> None:
    least = {"cpu": "1m", "mem": "512Mi"}
    fits = some["cpu"] <= most["cpu"] and some["mem"] <= most["mem"]
    for low, config in (
        (written(some), None),
        (least, {"idleFloor": written(some)}),
        (least, {"wakeBoost": written(some, **{"for": "90s"})}),
    ):
        with nullcontext() if fits else pytest.raises(ScalingError, match="must not exceed max"):
            parse({"min": low, "max": written(most)}, config)


@given(good_sizes, good_sizes, good_sizes, good_sizes, st.booleans())
def test_what_contradicts_nothing_is_taken_and_reads_back_as_it_is_told(
    one: dict[str, int],
    other: dict[str, int],
    floor: dict[str, int],
    boost: dict[str, int],
    separate: bool,
) -> None:
    sizes = (one, other, floor, boost)
    high = {name: max(size[name] for size in sizes) for name in one}
    low = {name: min(one[name], other[name]) for name in one}
    config = {
        "idleFloor": written(floor),
        "wakeBoost": written(boost, **{"for": "90s"}),
        "separateUnits": separate,
    }
    scaling = parse({"min": written(low), "max": written(high)}, config)
    expected = [Size(size["cpu"], size["mem"] * 512 * MI) for size in (low, high, floor, boost)]
    assert scaling.boost is not None
    assert [scaling.low, scaling.high, scaling.floor, scaling.boost.size] == expected
    told = scaling.as_json()
    limits = {name: told.pop(name) for name in ("min", "max")}
    assert parse(limits, told) == scaling


def test_it_is_told_as_authors_write_it_with_what_goes_by_default() -> None:
    assert SCALING.as_json() == BOUNDS | {
        "loadAverageFractionTarget": 0.9,
        "memoryUsageFractionTarget": 0.75,
        "memorySlotSize": "512Mi",
        "separateUnits": False,
    }
