"""An event loop whose time passes only by waiting, and then at once."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any


class _Jumping(selectors.BaseSelector):
    """Where a loop would sleep, its clock is moved instead.

    Not before so many real seconds in which nothing came: what is on its way between two sockets
    of the same loop may be late on a busy machine.
    """

    def __init__(self, patience: float) -> None:
        self.now = 1000.0
        self._patience = patience
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0 if timeout is not None and timeout <= 0 else self._patience)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits and nothing is going to happen")
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs through any number of seconds without waiting for them.

    `patience`: real seconds before each jump, for tests with sockets.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self._jumping = _Jumping(patience)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def in_virtual_time(
    test: Callable[..., Coroutine[Any, Any, None]], patience: float = 0.0
) -> Callable[..., None]:
    """Make a plain test of an async one. Whatever reached the loop's error handler fails it."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        troubles: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(patience)) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: troubles.append(context))
            runner.run(test(*args, **kwargs))
        assert troubles == []

    return run
