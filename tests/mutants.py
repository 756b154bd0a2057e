"""Plant faults in the modules that decide, and count how many the tests find.

    python tests/mutants.py [text ...]

runs mutmut in a temporary copy of the tree, prints every fault that was not found and the score
of each module, and ends with 1 where a score is under the mark or a module has no faults at all.
With arguments, only modules whose path contains one of them are tried. What is mutated and which
tests are run stands in pyproject.toml, `[tool.mutmut]`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Per cent of the faults in each module that the tests must find.
MARK = 80.0
#: How mutmut records the fate of a mutant: the exit code of the tests.
FOUND = {1, 3}
TOO_SLOW = {24, 36, 152, 255, -24}
SKIPPED = {34}


@dataclass
class Score:
    """What became of the faults of one module."""

    module: str
    found: int = 0
    unfound: list[str] = field(default_factory=list)

    @property
    def per_cent(self) -> float:
        total = self.found + len(self.unfound)
        return 100 * self.found / total if total else 0.0


def modules_to_try(wanted: list[str]) -> list[str]:
    """Return the configured modules that exist and were asked for."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    present = [module for module in config["only_mutate"] if (ROOT / module).exists()]
    return [one for one in present if not wanted or any(text in one for text in wanted)]


def copy_tree(to: Path, modules: list[str]) -> None:
    """Copy what mutmut needs, and have it mutate these modules only."""
    ignore = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("gateway", "tests"):
        shutil.copytree(ROOT / name, to / name, ignore=ignore)
    config = (ROOT / "pyproject.toml").read_text()
    before, after = config.split("only_mutate = [", 1)
    after = after.split("]", 1)[1]
    (to / "pyproject.toml").write_text(f"{before}only_mutate = {json.dumps(modules)}{after}")


def run_mutmut(at: Path) -> None:
    """Run mutmut in the copy; end the program where it fails itself."""
    workers = str(os.cpu_count() or 1)
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", workers]
    done = subprocess.run(command, cwd=at, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"mutmut failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")


def score(at: Path, module: str) -> Score:
    """Read what mutmut noted about one module."""
    meta = json.loads((at / "mutants" / f"{module}.meta").read_text())
    result = Score(module)
    for name, code in meta["exit_code_by_key"].items():
        if code in FOUND or code in TOO_SLOW:
            result.found += 1
        elif code not in SKIPPED:
            result.unfound.append(name)
    return result


def show(at: Path, name: str) -> None:
    """Print one fault that was not found."""
    command = [sys.executable, "-m", "mutmut", "show", name]
    shown = subprocess.run(command, cwd=at, check=False, capture_output=True, text=True)
    print(shown.stdout)


def main() -> int:
    """Try the modules; return the exit code."""
    modules = modules_to_try(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        at = Path(directory)
        copy_tree(at, modules)
        run_mutmut(at)
        scores = [score(at, module) for module in modules]
        for one in scores:
            for name in one.unfound:
                show(at, name)
    for one in scores:
        count = one.found + len(one.unfound)
        print(f"{one.per_cent:6.1f} %  {one.found:4} of {count:4}  {one.module}")
    return int(not scores or any(one.per_cent < MARK for one in scores))


if __name__ == "__main__":
    sys.exit(main())
