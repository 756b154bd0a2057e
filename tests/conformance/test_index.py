"""Requirements, tests and README.md agree; what does not is found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from . import index
from .index import OWN, Case, Requirement

if TYPE_CHECKING:
    from pathlib import Path

ROOT = index.CODE.parent
LAW = Requirement("no bare CR", "RFC 9112 §2.2", "proxy/parser, wake")
HELD = Case(1, "test_a.py", "test_1_a", "RFC 9112 §2.2: none.")


def test_requirements_tests_and_the_table_agree() -> None:
    assert index.main(["--check"]) == 0


def test_the_requirements_are_counted_without_a_gap() -> None:
    assert list(index.REQUIREMENTS) == list(range(1, len(index.REQUIREMENTS) + 1))


def test_what_is_right_has_no_fault() -> None:
    assert index.faults({1: LAW}, [HELD], {}) == []


@pytest.mark.parametrize(
    ("requirement", "tests", "fault"),
    [
        (LAW, [], "requirement 1 has no test"),
        (Requirement("a", OWN, "proxy/nowhere"), [HELD], "there is no gateway/proxy/nowhere"),
        (LAW, [HELD, Case(2, "test_a.py", "test_2_a", "b")], "there is no requirement 2"),
        (LAW, [Case(1, "test_a.py", "test_1_a", "")], "a docstring says"),
        (LAW, [Case(1, "test_a.py", "test_1_a", "None.")], "its docstring cites"),
    ],
)
def test_a_fault_is_told(requirement: Requirement, tests: list[Case], fault: str) -> None:
    (told,) = index.faults({1: requirement}, tests, {})
    assert fault in told


def test_a_test_elsewhere_that_is_gone_is_told() -> None:
    elsewhere = {1: {"../cluster/test_reflector.py": ("test_gone",)}}
    (told,) = index.faults({1: LAW}, [HELD], elsewhere)
    assert told == "requirement 1: there is no ../cluster/test_reflector.py::test_gone"


def test_a_table_that_is_not_current_is_told_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{index.BEGIN}\nold\n{index.END}\nafter\n")
    assert index.main(["--check"], readme) == 1
    assert "not current" in capsys.readouterr().err
    assert index.main(["--write"], readme) == index.main(["--check"], readme) == 0
    assert readme.read_text().startswith("before\n")
    assert readme.read_text().endswith("\nafter\n")


def boundaries() -> list[tuple[str, str]]:
    """Return the last two columns of SECURITY.md's boundaries: code, and what holds it."""
    text = (ROOT / "SECURITY.md").read_text()
    section = text[text.index("\n## Boundaries") : text.index("\n## Ways to authenticate")]
    return re.findall(r"^\| .* \| .* \| (`.*) \| (.*) \|$", section, re.MULTILINE)


def test_what_the_threat_model_names_is_there() -> None:
    """SECURITY.md says which module stops what, and which row or test holds it."""
    assert len(boundaries()) > 20
    for code, held in boundaries():
        for name in re.findall(r"`([\w/]+)`", code):
            module = index.CODE / name
            assert module.exists() or module.with_suffix(".py").exists(), name
        for name in re.findall(r"`(.+?)`", held):
            assert (ROOT / name).exists(), name
        for number in re.findall(r"\b\d+\b", held):
            assert int(number) in index.REQUIREMENTS
