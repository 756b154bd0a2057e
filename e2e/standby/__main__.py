"""`python -m e2e.standby`: as long as you like, from a seed."""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
from pathlib import Path

from e2e.platforms import NATIVE_CRD
from e2e.programs import Programs
from e2e.real_api import RealApi

from .run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e.standby", description=run.__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--sandboxes", type=int, default=60)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--calm", action="store_true", help="no gateway is killed or replaced")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    programs = Programs()
    with tempfile.TemporaryDirectory(prefix="standby-") as home:
        try:
            api = RealApi.not_yet_running(programs, Path(home), NATIVE_CRD)
            api.start("--etcd-compaction-interval=10s")
            result = asyncio.run(
                run(
                    api, programs, seconds=options.seconds, seed=options.seed,
                    sandboxes=options.sandboxes, replicas=options.replicas,
                    unrest=not options.calm,
                )
            )  # fmt: skip
        finally:
            programs.end()
    print(result.shown())
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
