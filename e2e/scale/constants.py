"""What one run says of one sandbox, one event, one write, one replica. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from e2e.scale import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.scale.figures import Fan, Results, Use


class NotMeasuredError(Exception):
    """A phase is missing in the results; the text names it."""


def _constant(show: Callable[[float], str], source: str, meaning: str) -> Any:
    return field(metadata={"show": show, "source": source, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class Constants:
    """Sizes in bytes, times in seconds, `cpu` in processor seconds."""

    base_memory: float = _constant(texts.size, "list", "a gateway without sandboxes")
    route_memory: float = _constant(
        texts.size, "list", "what each sandbox adds to a gateway after its list"
    )
    peak_memory: float = _constant(
        texts.size, "relist", "what each sandbox adds to a gateway's peak during a relist"
    )
    object_bytes: float = _constant(texts.size, "list", "a sandbox in a page of a list")
    page_objects: float = _constant(lambda one: f"{one:,.0f}", "list", "sandboxes in a page")
    list_time: float = _constant(
        texts.duration, "list", "what each sandbox adds to the time until a gateway is ready"
    )
    list_gateway_cpu: float = _constant(texts.duration, "list", "the same of the gateway's cpu")
    list_api_cpu: float = _constant(texts.duration, "list", "the same of the API server's cpu")
    event_bytes: float = _constant(texts.size, "fan-out", "an event of a watch")
    event_gateway_cpu: float = _constant(texts.duration, "fan-out", "an event, at a gateway")
    watch_api_cpu: float = _constant(
        texts.duration, "fan-out", "an event, at the API server, for each gateway that watches"
    )
    write_api_cpu: float = _constant(
        texts.duration, "fan-out", "a status write at the API server, without any watch"
    )
    stored_bytes: float = _constant(
        texts.size, "store", "what each sandbox, written twice, adds to etcd's file"
    )
    api_base: float = _constant(texts.size, "store", "the API server and etcd without sandboxes")
    api_memory: float = _constant(texts.size, "store", "what each sandbox adds to the two")
    replica_requests: float = _constant(
        texts.rate, "steady", "small requests that one gateway answers, on a core of its own"
    )

    @classmethod
    def of(cls, found: Results, relisted: Results | None = None) -> Constants:
        """Derive them; raise NotMeasuredError.

        `relisted` is another run, whose relist counts where `found` has none.
        """
        stored, listed, fan = found.stored, found.listed, found.fan_out
        if stored is None or listed is None:
            raise NotMeasuredError("list")
        if fan is None:
            raise NotMeasuredError("fan-out")
        if found.steady is None:
            raise NotMeasuredError("steady")
        peak = _peak(found if relisted is None or found.relist is not None else relisted)
        count = stored.filled.sandboxes
        empty, full = listed.empty, listed.full
        base = empty.use.gateway_resident
        one, three = (_per_write(each, fan.idle) for each in (fan.one, fan.three))
        # Below the noise, a difference may come out below nothing.
        watch = max(0.0, (three - one) / (fan.three.gateways - fan.one.gateways))
        return cls(
            base_memory=base,
            route_memory=(full.use.gateway_resident - base) / count,
            peak_memory=peak,
            object_bytes=listed.lists.bytes / count,
            page_objects=count / listed.lists.pages,
            list_time=(full.ready - empty.ready) / count,
            list_gateway_cpu=(full.use.gateway_cpu - empty.use.gateway_cpu) / count,
            list_api_cpu=(full.use.api_cpu - empty.use.api_cpu) / count,
            event_bytes=fan.one.event_bytes,
            event_gateway_cpu=_gateway_per_event(fan.one, fan.idle),
            watch_api_cpu=watch,
            write_api_cpu=max(0.0, one - watch),
            stored_bytes=(stored.etcd_full - stored.etcd_empty) / count,
            api_base=stored.api_empty,
            api_memory=(stored.api_full - stored.api_empty) / count,
            replica_requests=found.steady.most.per_second,
        )

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Give name, value, meaning and source of each."""
        for one in fields(self):
            told = one.metadata
            shown = told["show"](getattr(self, one.name))
            yield f"`{one.name}`", shown, told["meaning"], told["source"]


def _peak(found: Results) -> float:
    """Return what each sandbox adds to a gateway's memory at the most, during a relist."""
    if found.relist is None or found.listed is None or found.stored is None:
        raise NotMeasuredError("relist")
    base = found.listed.empty.use.gateway_resident
    return (found.relist.use.gateway_peak - base) / found.stored.filled.sandboxes


def _per_write(fan: Fan, idle: Use) -> float:
    """Return the API server's cpu for one write with all watches of it, less what it idles."""
    busy = fan.use.api_cpu / fan.use.seconds - idle.api_cpu / idle.seconds
    return busy / fan.churned.per_second


def _gateway_per_event(fan: Fan, idle: Use) -> float:
    busy = fan.use.gateway_cpu / fan.use.seconds - idle.gateway_cpu / idle.seconds
    return max(0.0, busy / fan.churned.per_second)
