"""README.md names every requirement and each test with its number, and nothing that is not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROW = re.compile(r"\| (\d+) \|(.*)\|(.*)\|(.*)\|")
NUMBERED = re.compile(r"test_(\d+)_")
NAME = re.compile(r"`([\w./]+\.py)::(\w+)`")

#: What cannot be tested yet: the feature is not there.
MISSING = {55}


def defined(path: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text()).body
    return {node.name for node in body if isinstance(node, functions)}


def rows() -> dict[int, set[tuple[str, str]]]:
    found = map(ROW.fullmatch, (HERE / "README.md").read_text().splitlines())
    return {int(row[1]): set(NAME.findall(row[4])) for row in found if row}


def test_every_requirement_has_a_test() -> None:
    assert list(rows()) == list(range(1, 57))
    assert {number for number, tests in rows().items() if not tests} == MISSING


def test_every_test_that_is_named_exists() -> None:
    for tests in rows().values():
        for file, name in tests:
            assert name in defined(HERE / file), (file, name)


def test_every_test_is_named_in_the_row_of_its_number() -> None:
    table = rows()
    for path in HERE.glob("test_*.py"):
        for name in defined(path):
            if numbered := NUMBERED.match(name):
                assert (path.name, name) in table[int(numbered[1])], name
