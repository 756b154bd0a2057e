"""The embedded API answers as a real one, or the difference is listed (e2e/differential)."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

import e2e.differential
from e2e.clusters import connect
from e2e.differential.__main__ import main as write_differences
from e2e.differential.comparison import faults
from e2e.differential.differences import DIFFERENCES
from e2e.differential.embedded import WIDGETS_CRD
from e2e.differential.probe import PROBES, Probe, Side
from e2e.programs import free_port
from e2e.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.clusters import Cluster
    from e2e.programs import Programs

for _module in pkgutil.iter_modules(e2e.differential.__path__):
    if _module.name.startswith("probes_"):
        importlib.import_module(f"e2e.differential.{_module.name}")

_EMBEDDED: Final = "e2e.differential.embedded"


@pytest.fixture(scope="module")
def real(api: Cluster) -> Iterator[Side]:
    with api.serving(WIDGETS_CRD) as kubeconfig, connect(kubeconfig) as client:
        yield Side.of(kubeconfig, api.home, client, makes_namespaces=True)


@pytest.fixture(scope="module")
def embedded(shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    home = tmp_path_factory.mktemp("embedded")
    argv = [sys.executable, "-m", _EMBEDDED, str(home), str(free_port())]
    program = shared_programs.start("embedded-api", argv, home)
    until(lambda: "serving" in program.output, "the embedded API serves")
    kubeconfig = home / "kubeconfig"
    with connect(kubeconfig) as client:
        yield Side.of(kubeconfig, home, client, makes_namespaces=False)


def _seen(name: str, side: Side) -> dict[str, Any]:
    probe = Probe.begin(side, name)
    try:
        PROBES[name](probe)
    finally:
        probe.end()
    return probe.seen


# Of another version, or with a garbage collector, other things differ.
@pytest.mark.needs_own_api
@pytest.mark.parametrize("name", PROBES)
def test_both_answer_alike(name: str, real: Side, embedded: Side) -> None:
    found = faults(name, _seen(name, real), _seen(name, embedded))
    assert not found, "\n" + "\n".join(found)


def test_what_is_listed_is_seen_by_a_probe() -> None:
    assert {name for one in DIFFERENCES for name in one.seen} <= PROBES.keys()


def test_the_differences_that_readers_see_are_these() -> None:
    assert write_differences(["--check"]) == 0
