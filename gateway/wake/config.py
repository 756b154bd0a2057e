"""Every knob of waking, with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WakeConfig:
    """How sandboxes are woken. Durations are seconds, rates are patches a second."""

    #: How long one episode may take where the sandbox itself names no time.
    timeout: float = 120.0
    #: The hint given with an answer of 503 where nothing better is known (Retry-After).
    retry_after: float = 1.0

    #: Safety net under the watch: the first re-read of an object that somebody works on, and the
    #: longest pause between two; it doubles from the one to the other.
    reread_min: float = 1.0
    reread_max: float = 5.0
    #: After a conflict or an unreachable API: the first pause before the object is read again,
    #: and the longest; it doubles from the one to the other.
    retry_min: float = 0.1
    retry_max: float = 2.0

    #: Requests that may wait for one sandbox, and for all of them.
    waiters_per_sandbox: int = 2_000
    waiters_total: int = 20_000
    #: Bytes that all waiting requests together may hold in memory.
    waiting_bytes_total: int = 256 * 1024 * 1024

    #: Wake patches sent, in total and for one namespace: the steady rate, and how many at once
    #: after a quiet time. A namespace below the total leaves room for the others.
    patches_per_second: float = 100.0
    patches_burst: int = 200
    namespace_patches_per_second: float = 50.0
    namespace_patches_burst: int = 100
    #: Patches of one episode: somebody who puts the sandbox back to sleep each time has to win.
    max_patches_per_episode: int = 3

    #: Failed episodes in a row after which a sandbox is left alone for a while. A time-out counts
    #: as that many: it has cost its whole time already.
    breaker_failures: int = 3
    #: The first such while, and the longest; it doubles from the one to the other.
    breaker_min: float = 2.0
    breaker_max: float = 60.0
    #: How long after the last failure it is forgotten, and how many sandboxes are remembered.
    breaker_memory: float = 600.0
    breaker_entries: int = 10_000
