"""Where settings are written: the environment, a YAML file, options of a command.

Each source gives entries and culprits, so that one start names everything that is wrong at once.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import yaml

from gateway.settings.model import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PREFIX: Final = "SBXGW_"
CONFIG_VARIABLE: Final = "SBXGW_CONFIG"


@dataclass(frozen=True, slots=True)
class Entry:
    """One value that somebody wrote for a setting; `source` names the place to mend it."""

    name: str
    value: object = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Culprit:
    """One thing that stops the start: where it stands and what is wrong with it."""

    source: str
    message: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


class SettingsError(Exception):
    """The settings as written cannot be used; `culprits` are all reasons."""

    def __init__(self, culprits: tuple[Culprit, ...]) -> None:
        super().__init__("\n".join(map(str, culprits)))
        self.culprits = culprits


@dataclass(frozen=True, slots=True)
class Source:
    """What one source says."""

    entries: tuple[Entry, ...] = ()
    culprits: tuple[Culprit, ...] = ()


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


# ---- environment --------------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str]) -> Source:
    """Read the variables with our prefix; one that no setting has is a culprit."""
    by_variable = {variable(name): name for name in NAMES}
    entries, culprits = [], []
    for found, value in sorted(environ.items()):
        if not found.startswith(PREFIX) or found == CONFIG_VARIABLE:
            continue
        if found in by_variable:
            entries.append(Entry(by_variable[found], value, found))
        else:
            culprits.append(Culprit(found, _unknown(found, (*by_variable, CONFIG_VARIABLE))))
    return Source(tuple(entries), tuple(culprits))


def _unknown(found: str, known: tuple[str, ...]) -> str:
    shape = {one.lower(): one for one in known}
    close = difflib.get_close_matches(found.lower(), shape, n=1, cutoff=0.75)
    return "no such setting" + (f"; did you mean {shape[close[0]]}?" if close else "")


# ---- file ---------------------------------------------------------------------------------------


def from_file(path: Path) -> Source:
    """Read a YAML file of settings; whatever is wrong with the file is a culprit."""
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        return _only(path, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return _only(path, "is not UTF-8 text")
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        return _only(path, f"is not YAML{_where(error)}")
    if root is None:
        return Source()
    if not isinstance(root, yaml.MappingNode):
        return _only(path, "is not a mapping of settings to values")
    doubled = tuple(_doubled_keys(root, path))
    return Source(culprits=doubled) if doubled else _entries(root, path)


def _only(path: Path, message: str) -> Source:
    return Source(culprits=(Culprit(str(path), message),))


def _where(error: yaml.YAMLError) -> str:
    """Say where and why, but never show the line: it may hold anything."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return place + (f": {problem}" if problem else "")


def _doubled_keys(node: yaml.MappingNode, path: Path) -> Iterator[Culprit]:
    """YAML forbids a key twice in one mapping (YAML 1.2.2 §3.2.1.1); PyYAML takes the last."""
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        name = _name(key)
        if name in seen:
            yield Culprit(
                f"{path}:{line}", f"{name} stands there twice, first in line {seen[name]}"
            )
        seen.setdefault(name, line)
        if isinstance(value, yaml.MappingNode):
            yield from _doubled_keys(value, path)


def _entries(root: yaml.MappingNode, path: Path) -> Source:
    entries, culprits = [], []
    for key, value in root.value:
        source = f"{path}:{key.start_mark.line + 1}"
        name = _name(key)
        if name not in NAMES:
            culprits.append(Culprit(f"{source}: {name}", _unknown(name, NAMES)))
            continue
        try:
            entries.append(Entry(name, _constructed(value), f"{source}: {name}"))
        except (yaml.YAMLError, ValueError):
            culprits.append(Culprit(f"{source}: {name}", "is not a plain YAML value"))
    return Source(tuple(entries), tuple(culprits))


def _name(key: yaml.Node) -> str:
    return key.value if isinstance(key, yaml.ScalarNode) else "(a key that is not text)"


def _constructed(node: yaml.Node) -> object:
    loader = yaml.SafeLoader("")
    try:
        value: object = loader.construct_object(node, deep=True)
    finally:
        loader.dispose()
    return value
