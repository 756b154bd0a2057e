"""What can not be run is refused in words, and nothing that a spec may hold raises."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.local.runtime.model import Command, Departure, Desired, Goal, PauseMode, Problem
from gateway.local.runtime.spec import Identity, identity_of, read_desired

from .doubles import InMemoryObjects, pids_of, python, running, sandbox


def read(**spec: Any) -> Desired:
    return read_desired({"metadata": {"generation": 3}, "spec": spec}, {8080})


def process(**fields: Any) -> dict[str, Any]:
    return {"command": ["true"], "port": 9000} | fields


def test_a_complete_spec_is_read() -> None:
    desired = read(
        desiredState="Paused",
        shutdownTime="1970-01-01T00:01:00Z",
        process=process(env={"A": "1"}, cwd="/srv", pause="stop"),
    )
    assert desired == Desired(
        generation=3,
        goal=Goal.PAUSED,
        workload=Command(("true",), 9000, (("A", "1"),), "/srv"),
        pause=PauseMode.STOP,
        shutdown_at=60.0,
        departure=Departure.NONE,
    )


def test_defaults_are_running_and_freeze() -> None:
    desired = read(process=process())
    assert (desired.goal, desired.pause) == (Goal.RUNNING, PauseMode.FREEZE)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({}, "spec.process"),
        ({"process": []}, "spec.process"),
        ({"process": {"command": ["true"]}}, "port"),
        ({"process": process(port=0)}, "port"),
        ({"process": process(port=65536)}, "port"),
        ({"process": process(port=True)}, "port"),
        ({"process": process(port="9000")}, "port"),
        ({"process": process(port=8080)}, "gateway's own"),
        ({"process": process(command=[])}, "command"),
        ({"process": process(command=[""])}, "command"),
        ({"process": process(command="true")}, "command"),
        ({"process": process(command=["a\0b"])}, "command"),
        ({"process": process(env=[])}, "env"),
        ({"process": process(env={"A=B": "c"})}, "env"),
        ({"process": process(env={"A": 1})}, "env"),
        ({"process": process(cwd="relative")}, "cwd"),
        ({"process": process(pause="hibernate")}, "pause"),
        ({"process": process(), "desiredState": "Asleep"}, "desiredState"),
        ({"process": process(), "shutdownTime": "tomorrow"}, "shutdownTime"),
        ({"process": process(), "shutdownTime": "2030-01-01T00:00:00"}, "time zone"),
    ],
)
def test_a_spec_that_can_not_be_run_is_a_problem(spec: dict[str, Any], word: str) -> None:
    problem = read(**spec).workload
    assert isinstance(problem, Problem)
    assert word in problem.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["desiredState", "shutdownTime", "process"]
PROCESS_FIELDS = ["command", "env", "cwd", "port", "pause"]


@settings(deadline=None)
@given(
    spec=st.dictionaries(st.sampled_from(FIELDS), JSON),
    fields=st.dictionaries(st.sampled_from(PROCESS_FIELDS), JSON),
    metadata=JSON,
)
def test_no_json_raises(spec: dict[str, Any], fields: dict[str, Any], metadata: Any) -> None:
    for candidate in (spec, spec | {"process": fields}):
        obj = {"metadata": metadata, "spec": candidate}
        desired = read_desired(obj, {8080})
        assert isinstance(desired.workload, Command | Problem)
        identity_of(obj)


def test_names_that_are_no_file_names_identify_nobody() -> None:
    good = {"namespace": "default", "name": "a.b-c", "uid": "1-2"}
    assert identity_of({"metadata": good}) == Identity("default", "a.b-c", "1-2")
    for bad in ("", "..", ".a", "a/b", "a\0", "a\n", 7, None):
        for part in good:
            assert identity_of({"metadata": good | {part: bad}}) is None


async def test_a_problem_fails_the_sandbox_with_a_warning_and_is_mended_by_a_new_spec(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    obj = sandbox("one", port)
    good = obj["spec"].pop("process")
    objects.add(obj)
    async with running(objects, data_dir):
        await objects.reaches("one", "Failed", "InvalidSpec")
        assert objects.events[-1][:3] == ("one", "Warning", "InvalidSpec")
        objects.change("one", process=good)
        await objects.reaches("one", "Running")
        objects.change("one", process=good | {"port": 0})
        await objects.reaches("one", "Failed", "InvalidSpec")
    assert pids_of(data_dir) == set()


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ["no-such-program-anywhere"]},
        {"command": ["/etc/hostname"]},
        {"command": ["/"]},
        {"cwd": "/no/such/directory"},
        {"command": ["true", "\ud800"]},
    ],
)
async def test_a_command_that_can_not_be_started_fails_until_the_spec_changes(
    objects: InMemoryObjects, data_dir: Path, port: int, fields: dict[str, Any]
) -> None:
    objects.add(sandbox("one", port, **fields))
    async with running(objects, data_dir):
        await objects.reaches("one", "Failed", "StartFailed")
        assert "tried again" not in objects.ready("one")["message"]
        good = sandbox("one", port, python("import time; time.sleep(600)"))["spec"]["process"]
        objects.change("one", process=good)
        await objects.reaches("one", "Pending", "Starting")
