"""What keeps waking within bounds: places to wait, the patch budget, the breaker.

Pure: time is an argument, in seconds of any clock that does not go back. Every table is bounded or
holds only what is under way.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.sandbox.token_bucket import TokenBucket

if TYPE_CHECKING:
    from gateway.wake.config import WakeConfig

#: Namespaces whose buckets are kept without looking whether they still say anything.
NAMESPACES: Final = 1_024


class Refusal(Enum):
    """Why a request may not wait."""

    SANDBOX = "sandbox"
    """Too many wait for this sandbox."""
    TOTAL = "total"
    """Too many wait."""
    BYTES = "bytes"
    """Those who wait hold too much memory."""
    BREAKER = "breaker"
    """Waking this sandbox has failed too often of late."""


class Places:
    """Who waits: counted per sandbox and in total, with the bytes they hold."""

    def __init__(self, config: WakeConfig) -> None:
        self._config = config
        self._by_uid: dict[str, int] = {}
        self.count = 0
        self.held_bytes = 0

    def of(self, uid: str) -> int:
        """Return how many wait for this sandbox."""
        return self._by_uid.get(uid, 0)

    def enter(self, uid: str, held_bytes: int) -> Refusal | None:
        """Take a place, or say why there is none. Who got one owes a `leave` of the same."""
        if self.of(uid) >= self._config.waiters_per_sandbox:
            return Refusal.SANDBOX
        if self.count >= self._config.waiters_total:
            return Refusal.TOTAL
        if self.held_bytes + held_bytes > self._config.waiting_bytes_total:
            return Refusal.BYTES
        self._by_uid[uid] = self.of(uid) + 1
        self.count += 1
        self.held_bytes += held_bytes
        return None

    def leave(self, uid: str, held_bytes: int) -> None:
        """Give back a place that was taken."""
        left = self._by_uid[uid] - 1
        if left:
            self._by_uid[uid] = left
        else:
            del self._by_uid[uid]
        self.count -= 1
        self.held_bytes -= held_bytes


class PatchBudget:
    """How many wake patches go out, in total and per namespace.

    Who asks waits in the queue of its namespace, and the namespaces take turns: a tenant that
    wakes a thousand sandboxes at once delays its own, and a second tenant's one goes next.
    """

    def __init__(self, config: WakeConfig, now: float) -> None:
        self._config = config
        self._total = TokenBucket(config.patches_per_second, config.patches_burst, now)
        self._buckets: dict[str, TokenBucket] = {}
        self._sweep_at = NAMESPACES
        #: namespace → uids in the order they asked; the namespaces in the order of their turns.
        self._queues: OrderedDict[str, dict[str, None]] = OrderedDict()

    @property
    def namespaces(self) -> int:
        """How many namespaces are remembered."""
        return len(self._buckets)

    def ask(self, namespace: str, uid: str) -> None:
        """Queue one patch; `grant` will name this uid once."""
        self._queues.setdefault(namespace, {})[uid] = None

    def withdraw(self, namespace: str, uid: str) -> None:
        """Take back what was asked and not granted yet."""
        queue = self._queues[namespace]
        del queue[uid]
        if not queue:
            del self._queues[namespace]

    def grant(self, now: float) -> list[str]:
        """Return the uids whose patches may go out now, and take them off the queue."""
        granted: list[str] = []
        if self._total.wait(now):
            return granted  # the usual case while many ask: it costs nothing to see that
        turns = deque(self._queues)
        while turns and not self._total.wait(now):
            namespace = turns.popleft()
            if not self._bucket(namespace, now).take(now):
                continue  # out for now; it keeps its turn
            self._total.take(now)
            granted.append(self._next(namespace))
            if namespace in self._queues:
                turns.append(namespace)
        return granted

    def wait(self, now: float) -> float | None:
        """Return the seconds until `grant` is worth calling again; None if nobody asks."""
        if not self._queues:
            return None
        return self._total.wait(now) or min(
            self._bucket(namespace, now).wait(now) for namespace in self._queues
        )

    def _next(self, namespace: str) -> str:
        queue = self._queues[namespace]
        uid = next(iter(queue))
        self._queues.move_to_end(namespace)
        self.withdraw(namespace, uid)
        return uid

    def _bucket(self, namespace: str, now: float) -> TokenBucket:
        bucket = self._buckets.get(namespace)
        if bucket is None:
            self._sweep(now)
            config = self._config
            rate, burst = config.namespace_patches_per_second, config.namespace_patches_burst
            bucket = self._buckets[namespace] = TokenBucket(rate, burst, now)
        return bucket

    def _sweep(self, now: float) -> None:
        """Forget the buckets that are full again; what is left is bounded by the total's rate."""
        if len(self._buckets) < self._sweep_at:
            return
        kept = {name: one for name, one in self._buckets.items() if not one.is_full(now)}
        self._buckets = kept
        self._sweep_at = max(NAMESPACES, 2 * len(kept))


@dataclass(frozen=True, slots=True)
class Opened:
    """A breaker that is open: for how many seconds more, and what failed last."""

    retry_after: float
    cause: str


@dataclass(frozen=True, slots=True)
class _Record:
    failures: int
    pause: float
    failed_at: float
    open_until: float
    cause: str


class Breaker:
    """Leaves a sandbox alone for a while once waking it has failed several times in a row.

    After that while the next request starts an episode again. Requests of one sandbox share one
    episode, so that one attempt is all there is: if it fails, the next while is twice as long.
    """

    def __init__(self, config: WakeConfig) -> None:
        self._config = config
        self._records: OrderedDict[str, _Record] = OrderedDict()  # the oldest failure first

    def __len__(self) -> int:
        return len(self._records)

    def check(self, uid: str, now: float) -> Opened | None:
        """Return the open breaker of this sandbox; None if it may be woken."""
        record = self._records.get(uid)
        if record is None or record.open_until <= now:
            return None
        return Opened(record.open_until - now, record.cause)

    def last_cause(self, uid: str) -> str | None:
        """Return why the last episode of this sandbox failed, if one did of late."""
        record = self._records.get(uid)
        return None if record is None else record.cause

    def failed(self, uid: str, now: float, cause: str, *, opens: bool = False) -> None:
        """Count a failed episode; `opens`: it alone is reason enough."""
        self._expire(now)
        record = self._records.pop(uid, None)
        failures = 1 if record is None else record.failures + 1
        pause, open_until = 0.0, now
        if opens or failures >= self._config.breaker_failures:
            failures = max(failures, self._config.breaker_failures)
            pause = self._longer(0.0 if record is None else record.pause)
            open_until = now + pause
        self._records[uid] = _Record(failures, pause, now, open_until, cause)
        if len(self._records) > self._config.breaker_entries:
            self._records.popitem(last=False)

    def forget(self, uid: str) -> None:
        """Start anew: the sandbox was woken, or does not exist any more."""
        self._records.pop(uid, None)

    def opened(self, now: float) -> int:
        """Return how many sandboxes are left alone now."""
        return sum(record.open_until > now for record in self._records.values())

    def _longer(self, pause: float) -> float:
        config = self._config
        return min(config.breaker_max, max(config.breaker_min, 2.0 * pause))

    def _expire(self, now: float) -> None:
        while self._records:
            uid, record = next(iter(self._records.items()))
            if now - record.failed_at < self._config.breaker_memory:
                return
            del self._records[uid]
