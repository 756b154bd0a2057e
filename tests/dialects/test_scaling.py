"""What objects say of their size: a label to opt in, bounds, and that no typo resizes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import own
from gateway.dialects.agent_sandbox import AgentSandbox
from gateway.dialects.deployment import DEPLOYMENT, STATEFUL_SET
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.model import Problem
from gateway.sandbox.scaling import Scaling, Size, parse_scaling

from .objects import (
    agent_object,
    deployment_object,
    kruise_object,
    native_object,
    with_annotations,
    with_field,
)

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect, RawObject

BOUNDS = '{"min": {"cpu": "250m", "mem": "512Mi"}, "max": {"cpu": "2", "mem": "4Gi"}}'
CONFIG = '{"loadAverageFractionTarget": 1.2}'
SCALING = Scaling(low=Size(250, 512 * 1024**2), high=Size(2000, 4 * 1024**3))
ON = {own.SCALING_ENABLED: "true"}

DIALECTS: list[tuple[Dialect, RawObject]] = [
    (Native(), native_object()),
    (Kruise(), kruise_object()),
    (AgentSandbox(), agent_object("v1beta1")),
    (AgentSandbox(), agent_object("v1alpha1")),
    (DEPLOYMENT, deployment_object()),
    (STATEFUL_SET, deployment_object()),
]
every_dialect = pytest.mark.parametrize(
    ("dialect", "raw"), DIALECTS, ids=lambda one: getattr(one, "name", "")
)


def read(labels: dict[str, str], **values: str) -> own.Annotations:
    named = {own.PREFIX + name.replace("_", "-"): text for name, text in values.items()}
    return own.read(named, labels)


def labelled(raw: RawObject, value: str) -> RawObject:
    return with_field(raw, ("metadata", "labels", own.SCALING_ENABLED), value)


# ---- what it says -----------------------------------------------------------------------------


def test_with_the_label_and_bounds_it_is_right_sized() -> None:
    assert read(ON, scaling_bounds=BOUNDS) == own.Annotations(scaling=SCALING)
    found = read(ON, scaling_bounds=BOUNDS, scaling_config=CONFIG)
    assert found == own.Annotations(scaling=parse_scaling(BOUNDS, CONFIG))


@pytest.mark.parametrize("labels", [{}, {own.SCALING_ENABLED: "false"}, {"x": "true"}])
def test_without_the_label_bounds_say_nothing_whatever_they_are(labels: dict[str, str]) -> None:
    assert read(labels, scaling_bounds=BOUNDS, scaling_config=CONFIG) == own.Annotations()
    assert read(labels, scaling_bounds="x", scaling_config="x") == own.Annotations()


def test_the_label_is_none_of_the_annotations_nor_they_of_the_labels() -> None:
    assert read({}, scaling_enabled="true", scaling_bounds=BOUNDS) == own.Annotations()
    assert read(ON | {own.SCALING_BOUNDS: BOUNDS}).scaling is None


@pytest.mark.parametrize("value", ["", "True", "yes", "1", " true", "true\n", "on", "ture"])
def test_a_label_that_is_neither_leaves_it_as_it_is_and_is_reported(value: str) -> None:
    found = read({own.SCALING_ENABLED: value}, scaling_bounds=BOUNDS)
    message = 'must be "true" or "false"; read as "false"'
    assert found == own.Annotations(problems=(Problem(own.SCALING_ENABLED, message),))


@pytest.mark.parametrize("config", [{}, {"scaling_config": CONFIG}, {"scaling_config": "x"}])
def test_without_bounds_it_is_not_resized_and_that_is_reported(config: dict[str, str]) -> None:
    problem = Problem(own.SCALING_BOUNDS, "is missing; it is not resized")
    assert read(ON, **config) == own.Annotations(problems=(problem,))


@pytest.mark.parametrize(
    ("bounds", "config", "named"),
    [
        ("x", CONFIG, [own.SCALING_BOUNDS]),
        ("", None, [own.SCALING_BOUNDS]),
        (BOUNDS, "x", [own.SCALING_CONFIG]),
        (BOUNDS, '{"slot": 1}', [own.SCALING_CONFIG]),
        ("{}", "[]", [own.SCALING_BOUNDS, own.SCALING_CONFIG]),
    ],
)
def test_what_does_not_parse_resizes_nothing_and_the_annotation_is_named(
    bounds: str, config: str | None, named: list[str]
) -> None:
    configured = {} if config is None else {"scaling_config": config}
    found = read(ON, scaling_bounds=bounds, **configured)
    assert found.scaling is None
    assert [problem.field for problem in found.problems] == named
    assert all(problem.message.endswith("; it is not resized") for problem in found.problems)


def test_all_that_is_wrong_in_an_annotation_is_one_problem() -> None:
    (problem,) = read(ON, scaling_bounds='{"min": {"cpu": "1", "mem": "x"}, "mid": 1}').problems
    assert problem.message == (
        "'mid' is not known; min.mem must be an amount over 0, such as 500m or 1Gi; "
        "max must have cpu and mem; it is not resized"
    )


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_no_text_at_all_makes_reading_fail_or_resizes_anything(
    enabled: str, bounds: str, config: str
) -> None:
    found = read({own.SCALING_ENABLED: enabled}, scaling_bounds=bounds, scaling_config=config)
    assert found.scaling is None
    assert bool(found.problems) is (enabled != "false")


def test_equal_texts_share_what_they_say() -> None:
    first = read(ON, scaling_bounds=BOUNDS, scaling_config=CONFIG).scaling
    assert first is not None
    assert read(ON, scaling_bounds="".join(BOUNDS), scaling_config=CONFIG).scaling is first
    assert read(ON, scaling_bounds=BOUNDS).scaling is not first


def test_texts_that_are_long_are_read_and_not_kept() -> None:
    kept, long = BOUNDS.ljust(1024), BOUNDS.ljust(1025)
    assert read(ON, scaling_bounds=kept).scaling is read(ON, scaling_bounds=kept).scaling
    one, other = (read(ON, scaling_bounds=long).scaling for _ in range(2))
    assert one == other == SCALING
    assert one is not other
    room = 1025 - len(BOUNDS)
    one, other = (
        read(ON, scaling_bounds=BOUNDS, scaling_config=CONFIG.ljust(room)).scaling for _ in range(2)
    )
    assert one == other == parse_scaling(BOUNDS, CONFIG)
    assert one is not other


# ---- every dialect ----------------------------------------------------------------------------


@every_dialect
def test_any_object_may_be_right_sized_and_none_is_by_itself(
    dialect: Dialect, raw: RawObject
) -> None:
    plain = with_annotations(raw, scaling_bounds=BOUNDS)
    assert dialect.route(raw).scaling is None
    assert dialect.route(plain).scaling is None
    route = dialect.route(labelled(plain, "true"))
    assert route.scaling == SCALING
    assert route.problems == dialect.route(plain).problems


@every_dialect
def test_any_object_has_its_typos_in_this_reported(dialect: Dialect, raw: RawObject) -> None:
    for value, bounds, field in (
        ("yes", BOUNDS, own.SCALING_ENABLED),
        ("true", "x", own.SCALING_BOUNDS),
    ):
        route = dialect.route(labelled(with_annotations(raw, scaling_bounds=bounds), value))
        assert route.scaling is None
        assert [problem.field for problem in route.problems] == [field]
