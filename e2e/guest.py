"""An informant in a process of its own, in a machine whose kernel tells what a test writes.

It is the real one; only the files that it reads are the test's, below a directory.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.agents.informant.informant import Informant, InformantConfig
from gateway.cli.running import configure_log, until_told
from gateway.resize.guest.sources import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.programs import Program, Programs

#: Seconds from one check whether its agents are there to the next: a test does not wait long.
_CHECK_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Guest:
    """What the kernel of a sandbox's machine tells; memory is in bytes."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> Guest:
        """Make one that has nothing to do."""
        (root / "proc").mkdir(parents=True)
        guest = cls(root)
        guest.loads(0.0)
        guest.uses(0, of=2**30)
        return guest

    def loads(self, load1: float, load5: float = 0.0) -> None:
        """Have so many CPUs busy, over one and over five minutes."""
        self._write("loadavg", f"{load1:.2f} {load5:.2f} 0.00 1/100 100\n")

    def uses(self, used: int, of: int) -> None:
        """Have so much memory in use, of all that there is."""
        kib = (of // 1024, (of - used) // 1024)
        self._write("meminfo", "MemTotal: {} kB\nMemAvailable: {} kB\n".format(*kib))

    def start(self, programs: Programs, address: str, port: int) -> Program:
        """Run its informant."""
        argv = [sys.executable, "-m", "e2e.guest", str(self.root), address, str(port)]
        return programs.start("informant", argv, self.root)

    def _write(self, name: str, text: str) -> None:
        # As a whole or not at all: the informant may be reading.
        new = self.root / "proc" / f".{name}"
        new.write_text(text)
        new.rename(self.root / "proc" / name)


@asynccontextmanager
async def answering(address: str, port: int, body: bytes) -> AsyncIterator[list[str]]:
    """Answer everything with the same, in an informant's place; give the paths that were asked.

    But for registrations, which it takes none of: who has once taken it for an informant goes on.
    """
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/register":
            return web.Response(status=503)
        return web.Response(body=body)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield asked
    finally:
        await runner.cleanup()


def main() -> None:
    """Run: ROOT ADDRESS PORT."""
    root, address, port = sys.argv[1:]
    configure_log("info", "json")
    config = InformantConfig(
        address, int(port), Place.MACHINE, Path(root), check_every=_CHECK_EVERY
    )
    asyncio.run(until_told(Informant(config).run()))


if __name__ == "__main__":
    main()
