"""Where control groups can be made, what is written to them, and how processes get into them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.local.cgroups import ControlGroup, Unusable, _make_way, find
from gateway.local.runtime.child import Child, Launch, NotJoinedError
from gateway.sandbox.scaling import Size
from tests.local.cgroup_tree import MIB, REAL, HostTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

needs_a_kernel = pytest.mark.skipif(not REAL, reason="needs root, and control groups v2")

SIZE = Size(250, 512 * MIB)


# ---- where --------------------------------------------------------------------------------------


def test_groups_below_the_gateways_own_can_limit_cpu_and_memory(tmp_path: Path) -> None:
    host = HostTree(tmp_path)
    group = find(tmp_path).made("box", SIZE)
    assert (host.own / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert group.path.parent == host.own
    assert (group.path / "cpu.max").read_text() == "25000 100000"
    assert (group.path / "memory.max").read_text() == str(512 * MIB)


def of_version_1(host: HostTree) -> str:
    (host.mount / "cgroup.controllers").unlink()
    return "version 2 are not at"


def not_delegated(host: HostTree) -> str:
    host.fill(host.own, "cgroup.controllers", "cpu pids\n")
    return "memory cannot be limited below .*box.scope"


def delegated_to_nobody(host: HostTree) -> str:
    host.fill(host.own, "cgroup.controllers", "\n")
    return "cpu and memory cannot be limited below"


def not_written_to(host: HostTree) -> str:
    (host.own / "cgroup.subtree_control").mkdir()
    return "cannot be made in .*box.scope: Is a directory"


def out_of_sight(host: HostTree) -> str:
    host.write("proc/self/cgroup", "0::/../box.scope\n")
    return "own control group is not below"


def in_none(host: HostTree) -> str:
    host.write("proc/self/cgroup", "3:cpu:/\n")
    return "own control group is not below"


def without_proc(host: HostTree) -> str:
    (host.root / "proc/self/cgroup").unlink()
    return "own control group is not known: No such file"


@pytest.mark.parametrize(
    "spoil",
    [
        of_version_1,
        not_delegated,
        delegated_to_nobody,
        not_written_to,
        out_of_sight,
        in_none,
        without_proc,
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, spoil: Callable[[HostTree], str]) -> None:
    reason = spoil(HostTree(tmp_path))
    with pytest.raises(Unusable, match=reason):
        find(tmp_path)


def test_a_group_with_the_gateway_in_it_is_left_for_one_below_it(tmp_path: Path) -> None:
    host = HostTree(tmp_path)
    _make_way(host.own)
    assert (host.own / "gateway/cgroup.procs").read_text() == "0"
    assert (host.own / "cgroup.subtree_control").read_text() == "+cpu +memory"


LEAVING = """
import sys
from pathlib import Path
from gateway.local.cgroups import _make_way
own = Path(sys.argv[1])
(own / "cgroup.procs").write_text("0")
try:
    _make_way(own)
except OSError as error:
    print(Path("/proc/self/cgroup").read_text().splitlines()[-1], (own / "gateway").exists())
"""


@needs_a_kernel
def test_where_that_is_of_no_use_the_gateway_comes_back(real_group: ControlGroup) -> None:
    if (real_group.path / "cpu.max").exists():
        pytest.skip("this kernel would let it")
    command = [sys.executable, "-c", LEAVING, str(real_group.path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"0::/{real_group.path.name} False"


# ---- sizes --------------------------------------------------------------------------------------


def test_a_group_is_given_another_size(tmp_path: Path) -> None:
    host = HostTree(tmp_path)
    group = find(tmp_path).made("box", SIZE)
    host.uses(group.path, memory=100)
    group.limit(Size(1500, 256 * MIB))
    assert (group.path / "cpu.max").read_text() == "150000 100000"
    assert (group.path / "memory.max").read_text() == str(256 * MIB)
    assert (group.path / "memory.high").read_text() == "max"


def test_memory_that_is_in_use_is_not_taken_away(tmp_path: Path) -> None:
    host = HostTree(tmp_path)
    group = find(tmp_path).made("box", SIZE)
    host.uses(group.path, memory=300)
    with pytest.raises(OSError, match="uses more memory than that"):
        group.limit(Size(1500, 256 * MIB))
    assert (group.path / "memory.max").read_text() == str(512 * MIB)
    assert (group.path / "memory.high").read_text() == "max"
    assert (group.path / "cpu.max").read_text() == "25000 100000"


def test_no_quota_is_less_than_the_kernel_takes(tmp_path: Path) -> None:
    HostTree(tmp_path)
    group = find(tmp_path).made("box", Size(1, MIB))
    assert (group.path / "cpu.max").read_text() == "1000 100000"


def test_a_group_that_cannot_be_limited_is_not_made(tmp_path: Path) -> None:
    host = HostTree(tmp_path)
    groups = find(tmp_path)
    (host.own / "cgroup.controllers").unlink()
    (host.own / "cgroup.subtree_control").unlink()
    host.own.rmdir()
    with pytest.raises(FileNotFoundError):
        groups.made("box", SIZE)


def test_groups_that_are_left_are_removed_but_for_those_with_processes(tmp_path: Path) -> None:
    host = HostTree(tmp_path)
    (host.own / "sandbox-left").mkdir()
    (host.own / "sandbox-used").mkdir()
    host.fill(host.own / "sandbox-used", "cgroup.procs", "1\n")
    (host.own / "another").mkdir()
    find(tmp_path).sweep()
    assert [path.name for path in host.groups] == ["sandbox-used"]
    assert (host.own / "another").exists()


# ---- getting in ---------------------------------------------------------------------------------


@pytest.fixture
def real_group() -> Iterator[ControlGroup]:
    """A group of this machine's own kernel."""
    group = ControlGroup(REAL[-1] / f"sandbox-test-{os.getpid()}")
    group.path.mkdir()
    yield group
    group.remove()
    assert not group.path.exists(), "nobody is left in it"


def launch(home: Path, door: Path | None, *command: str) -> Launch:
    return Launch(command, {"PATH": os.environ["PATH"]}, home, home / "log", 1000, door)


@needs_a_kernel
def test_a_process_is_in_its_group_before_its_command_runs(
    tmp_path: Path, real_group: ControlGroup
) -> None:
    child = Child(launch(tmp_path, real_group.door, "grep", "^0::", "/proc/self/cgroup"))
    child.reap()
    assert (tmp_path / "log").read_text() == f"0::/{real_group.path.name}\n"


@needs_a_kernel
def test_what_a_process_begins_is_in_its_group_too(
    tmp_path: Path, real_group: ControlGroup
) -> None:
    family = "sleep 600 & cat /proc/$!/cgroup; kill $!; wait"
    child = Child(launch(tmp_path, real_group.door, "sh", "-c", family))
    child.reap()
    assert f"0::/{real_group.path.name}\n" in (tmp_path / "log").read_text()


def test_a_process_that_does_not_get_in_is_not_started(tmp_path: Path) -> None:
    for door in (tmp_path / "gone" / "cgroup.procs", "/dev/full"):
        with pytest.raises(NotJoinedError):
            Child(launch(tmp_path, tmp_path / door, "touch", "begun"))
    assert not (tmp_path / "begun").exists()


def test_a_command_that_is_not_there_fails_as_without_a_group(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Child(launch(tmp_path, tmp_path / "door", "no-such-command"))
