"""What is read of a container's control group, and of a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.resize.guest.load import Load, Usage
from gateway.resize.guest.pressure import Memory, Strain
from gateway.resize.guest.sources import ControlGroup, Machine, Place, Unmeasurable, find
from tests.agents.informant.tree import MIB, ContainerTree, MachineTree, Tree

#: Where a kernel has control groups v2, alone or beside the first ones.
UNIFIED = [
    root
    for root in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
    if (root / "cgroup.procs").exists() and os.access(root, os.W_OK) and os.geteuid() == 0
]

BUSY = """
import sys, time
with open(sys.argv[1], "w") as group:
    group.write("0")
began = time.process_time()
while time.process_time() - began < float(sys.argv[2]):
    pass
print(time.process_time() - began)
"""


def test_a_machine_tells_the_averages_of_its_kernel(tmp_path: Path) -> None:
    MachineTree(tmp_path)
    assert Machine(tmp_path).load() == Load(0.52, 0.58)


def test_a_machine_tells_what_its_kernel_has_available(tmp_path: Path) -> None:
    MachineTree(tmp_path)
    assert Machine(tmp_path).memory() == Memory(8192 * MIB, 2048 * MIB)


def test_a_machine_tells_how_long_tasks_waited_for_memory(tmp_path: Path) -> None:
    tree = MachineTree(tmp_path)
    assert Machine(tmp_path).strain() == Strain()
    tree.set_memory_pressure(1.5)
    assert Machine(tmp_path).strain() == Strain(stalled=1.5)


def test_a_container_tells_what_it_used_and_waited_for(tmp_path: Path) -> None:
    tree = ContainerTree(tmp_path)
    assert ControlGroup(tmp_path).load() == Usage(busy=1.0, waited=0.0)
    tree.set_cpu(2.25)
    tree.set_pressure("cpu", 0.5)
    assert ControlGroup(tmp_path).load() == Usage(busy=2.25, waited=0.5)


def test_files_that_can_be_given_up_are_not_in_use(tmp_path: Path) -> None:
    tree = ContainerTree(tmp_path)
    assert ControlGroup(tmp_path).memory() == Memory(512 * MIB, 200 * MIB)
    tree.set_memory(current=10, limit=512, idle=11)
    assert ControlGroup(tmp_path).memory().used == 0


@pytest.mark.parametrize("limit", ["max", 100_000])
def test_a_container_has_no_more_memory_than_its_machine(tmp_path: Path, limit: int | str) -> None:
    ContainerTree(tmp_path).set_memory(current=10, limit=limit)
    assert ControlGroup(tmp_path).memory().total == 8192 * MIB


def test_a_container_tells_how_often_it_was_held_at_its_limit(tmp_path: Path) -> None:
    tree = ContainerTree(tmp_path)
    assert ControlGroup(tmp_path).strain() == Strain()
    tree.set_cpu(1.0, periods=20, throttled=11)
    tree.set_pressure("memory", 0.25)
    assert ControlGroup(tmp_path).strain() == Strain(0.25, 20, 11)


def test_pressure_that_the_kernel_does_not_tell_is_none(tmp_path: Path) -> None:
    tree = ContainerTree(tmp_path)
    tree.write("sys/fs/cgroup/cpu.pressure", "")
    assert ControlGroup(tmp_path).load().waited == 0.0


# ---- a container, or a machine ------------------------------------------------------------------

V1 = "4:memory:{0}\n2:cpu,cpuacct:{0}\n1:name=systemd:{0}\n"
SCOPE = "/system.slice/docker-0f.scope"
POD = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7.slice/cri-1a.scope"


def in_groups(tree: Tree, first: str, own: str) -> None:
    """Have the first process be in these control groups, and our own in those."""
    tree.write("proc/1/cgroup", first)
    tree.write("proc/self/cgroup", own)


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path) -> None:
    in_groups(ContainerTree(tmp_path), "0::/\n", "0::/\n")
    found = find(Place.AUTO, tmp_path)
    assert isinstance(found, ControlGroup)
    assert found.memory().total == 512 * MIB


def test_a_pod_without_a_memory_limit_is_a_container(tmp_path: Path) -> None:
    tree = ContainerTree(tmp_path)
    tree.set_memory(current=256, limit="max")
    in_groups(tree, "0::/\n", "0::/\n")
    assert isinstance(find(Place.AUTO, tmp_path), ControlGroup)


def test_a_container_whose_memory_nobody_counts_is_not_taken_for_the_machine(
    tmp_path: Path,
) -> None:
    tree = MachineTree(tmp_path)
    in_groups(tree, "0::/\n", "0::/\n")
    tree.write("sys/fs/cgroup/cgroup.type", "domain\n")
    tree.write("sys/fs/cgroup/cpu.stat", "usage_usec 1\n")
    with pytest.raises(Unmeasurable, match=r"memory\.max cannot be read"):
        find(Place.AUTO, tmp_path)


@pytest.mark.parametrize("scope", [SCOPE, POD])
def test_a_container_that_sees_all_groups_measures_its_own(tmp_path: Path, scope: str) -> None:
    tree = ContainerTree(tmp_path)
    group = tmp_path / "sys/fs/cgroup"
    inner = tmp_path / f"sys/fs/cgroup{scope}"
    inner.mkdir(parents=True)
    for file in list(group.iterdir()):
        if file.is_file():
            file.rename(inner / file.name)
    in_groups(tree, f"0::{scope}\n", f"0::{scope}\n")
    found = find(Place.AUTO, tmp_path)
    assert isinstance(found, ControlGroup)
    assert found.memory() == Memory(512 * MIB, 200 * MIB)


def test_a_container_that_does_not_see_its_group_is_not_taken_for_the_node(tmp_path: Path) -> None:
    in_groups(MachineTree(tmp_path), f"0::{SCOPE}\n", f"0::{SCOPE}\n")
    with pytest.raises(Unmeasurable, match=r"this is a container, .*--load machine"):
        find(Place.AUTO, tmp_path)


@pytest.mark.parametrize("path", ["/docker/0f", "/", "/init.scope"])
def test_a_container_of_control_groups_v1_is_not_taken_for_the_node(
    tmp_path: Path, path: str
) -> None:
    tree = MachineTree(tmp_path)
    in_groups(tree, f"{V1.format(path)}0::/\n", f"{V1.format(path)}0::/\n")
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n")
    with pytest.raises(Unmeasurable, match=r"control groups v1, not v2; --load machine"):
        find(Place.AUTO, tmp_path)


def test_a_container_of_v1_that_does_not_see_its_groups_either(tmp_path: Path) -> None:
    in_groups(MachineTree(tmp_path), V1.format("/docker/0f"), V1.format("/docker/0f"))
    with pytest.raises(Unmeasurable, match="this is a container"):
        find(Place.AUTO, tmp_path)


@pytest.mark.parametrize(
    ("first", "own"),
    [
        ("0::/init.scope\n", "0::/system.slice/informant.service\n"),
        ("0::/init.scope\n", "0::/user.slice/user-1000.slice/session-1.scope\n"),
        ("0::/\n", "0::/\n"),
        (V1.format("/") + "0::/init.scope\n", V1.format("/user.slice") + "0::/user.slice\n"),
        ("", ""),
    ],
)
def test_a_machine_is_one_with_any_init_system_and_without(
    tmp_path: Path, first: str, own: str
) -> None:
    tree = MachineTree(tmp_path)
    in_groups(tree, first, own)
    tree.write("sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    if "memory" in first:
        tree.write("sys/fs/cgroup/memory/release_agent", "\n")
    assert isinstance(find(Place.AUTO, tmp_path), Machine)


def test_a_kernel_without_control_groups_has_no_containers(tmp_path: Path) -> None:
    MachineTree(tmp_path)
    assert isinstance(find(Place.AUTO, tmp_path), Machine)


def test_a_first_process_that_nobody_may_look_at_is_not_guessed(tmp_path: Path) -> None:
    MachineTree(tmp_path).write("proc/self/cgroup", "0::/system.slice/x.service\n")
    with pytest.raises(Unmeasurable, match="proc/1/cgroup cannot be read"):
        find(Place.AUTO, tmp_path)


def test_what_is_measured_can_be_said(tmp_path: Path) -> None:
    ContainerTree(tmp_path)
    assert isinstance(find(Place.MACHINE, tmp_path), Machine)
    assert isinstance(find(Place.CGROUP, tmp_path), ControlGroup)


@pytest.mark.parametrize("place", Place)
def test_what_cannot_be_measured_says_what_is_missing(tmp_path: Path, place: Place) -> None:
    with pytest.raises(Unmeasurable, match=r"(loadavg|cpu\.stat) cannot be read: No such file"):
        find(place, tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("sys/fs/cgroup/cpu.stat", "user_usec 1\n", "cpu.stat does not have usage_usec"),
        ("sys/fs/cgroup/memory.stat", "anon 1\n", "memory.stat does not have inactive_file"),
        ("sys/fs/cgroup/memory.max", "much\n", "memory.max is no number of bytes"),
        ("sys/fs/cgroup/memory.current", "max\n", "memory.current is no number of bytes"),
        ("proc/meminfo", "MemTotal: 5 kB\n", "meminfo does not have MemAvailable"),
    ],
)
def test_a_container_that_says_something_else_is_not_measured(
    tmp_path: Path, file: str, text: str, said: str
) -> None:
    tree = ContainerTree(tmp_path)
    tree.write(file, text)
    place = Place.MACHINE if file.startswith("proc") else Place.CGROUP
    with pytest.raises(Unmeasurable, match=said):
        find(place, tmp_path)


def test_a_machine_without_load_averages_is_not_measured(tmp_path: Path) -> None:
    MachineTree(tmp_path).set_load("none\n")
    with pytest.raises(Unmeasurable, match="does not begin with load averages"):
        find(Place.MACHINE, tmp_path)


def test_this_machine_can_be_measured() -> None:
    source = find(Place.MACHINE, Path("/"))
    assert source.memory().total > source.memory().used > 0


@pytest.mark.skipif(not UNIFIED, reason="needs root, and control groups v2")
def test_the_kernel_counts_what_a_real_control_group_uses(tmp_path: Path) -> None:
    ContainerTree(tmp_path)
    group = UNIFIED[-1] / f"informant-{os.getpid()}"
    group.mkdir()
    try:
        for name in ("cpu.stat", "cpu.pressure"):
            (tmp_path / "sys/fs/cgroup" / name).unlink(missing_ok=True)
            (tmp_path / "sys/fs/cgroup" / name).symlink_to(group / name)
        before = ControlGroup(tmp_path).load()
        busy = _use_cpu_in(group, seconds=0.1)
        used = ControlGroup(tmp_path).load()
    finally:
        group.rmdir()
    assert used.busy - before.busy == pytest.approx(busy, abs=0.05)


def _use_cpu_in(group: Path, seconds: float) -> float:
    """Have a child process in the group use so much; return what it says that it used."""
    command = [sys.executable, "-c", BUSY, str(group / "cgroup.procs"), str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
