"""The Sandboxes of an API as a list's pages and a watch's events, encoded beforehand. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from e2e.bench.scale_objects import GROUP_VERSION, paused, render, template

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Objects of one page of a list, which is what the gateway asks for.
PAGE: Final = 500
#: Where versions begin: a cluster that has seen two thousand million writes.
FIRST_VERSION: Final = 2_000_000_000


class GoneError(Exception):
    """A page was asked for of a list that is not kept any more (410)."""


class Collection:
    """All objects, the version that each is of, and the pages of the last list."""

    def __init__(self, count: int) -> None:
        self._templates = [template(number) for number in range(count)]
        self._versions = [FIRST_VERSION + number for number in range(count)]
        self.version = FIRST_VERSION + count
        self._pages: list[bytes] = []
        self._pages_of = 0
        self.encode()

    def __len__(self) -> int:
        return len(self._templates)

    def touch(self, number: int) -> bytes:
        """Write an object anew, as a heartbeat does; return its JSON."""
        self.version += 1
        self._versions[number] = self.version
        return render(self._templates[number], self.version)

    def pause(self, numbers: Iterable[int]) -> None:
        """Put these to sleep."""
        for number in numbers:
            self.version += 1
            self._versions[number] = self.version
            self._templates[number] = paused(self._templates[number])

    def encode(self) -> None:
        """Make the pages of a list as of now."""
        if self._pages_of == self.version:
            return
        starts = range(0, len(self), PAGE)
        self._pages = [self._page(start) for start in starts]
        self._pages_of = self.version

    def page(self, token: str) -> bytes:
        """Return the page that a token names, the first for none; raise GoneError."""
        if not token:
            self.encode()
            return self._pages[0]
        version, _, place = token.partition(".")
        if version != str(self._pages_of):
            raise GoneError
        return self._pages[int(place)]

    def _page(self, start: int) -> bytes:
        end = min(start + PAGE, len(self))
        items = b",".join(map(render, self._templates[start:end], self._versions[start:end]))
        more = b""
        if end < len(self):
            more = b'"continue":"%d.%d","remainingItemCount":%d,' % (
                self.version,
                end // PAGE,
                len(self) - end,
            )
        return b'{"apiVersion":"%s","items":[%s],"kind":"SandboxList","metadata":{%s%s}}' % (
            GROUP_VERSION.encode(),
            items,
            more,
            b'"resourceVersion":"%d"' % self.version,
        )
