"""The access log: one line a request, in batches, and a stream that fails is counted."""

from __future__ import annotations

import asyncio
import io
import json

from gateway.telemetry.access_log import FLUSH_AFTER, FLUSH_BYTES, AccessLog
from gateway.telemetry.instruments import PREFIX, Instruments

LOST = PREFIX + "access_log_lost_lines_total"


class Stream(io.BytesIO):
    """A stream that counts how often it is written, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.broken = False
        self.written = asyncio.Event()

    def write(self, data: object) -> int:
        if self.broken:
            raise BrokenPipeError
        self.writes += 1
        self.written.set()
        assert isinstance(data, bytes)
        return super().write(data)

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def lost(instruments: Instruments) -> float:
    (metric,) = instruments.collect()
    (sample,) = [sample for sample in metric.samples if sample.name == LOST]
    return sample.value


async def test_lines_are_written_together_after_a_moment() -> None:
    stream = Stream()
    log = AccessLog(stream, Instruments())
    for number in range(3):
        log.write({"number": number}, 1_700_000_000.25)
    assert stream.writes == 0
    async with asyncio.timeout(FLUSH_AFTER + 5):
        await stream.written.wait()
    assert stream.writes == 1
    assert stream.lines == [
        {"number": number, "time": "2023-11-14T22:13:20.250Z"} for number in range(3)
    ]
    assert stream.getvalue().endswith(b"}\n")


async def test_enough_lines_are_written_at_once() -> None:
    stream = Stream()
    log = AccessLog(stream, Instruments())
    record = {"path": "x" * 1000}
    for _ in range(FLUSH_BYTES // 1000 + 1):
        log.write(dict(record), 0.0)
        if stream.writes:
            break
    assert stream.writes == 1
    before = len(stream.lines)
    log.write({}, 0.0)
    log.flush()
    assert len(stream.lines) == before + 1
    log.flush()
    assert stream.writes == 2


async def test_a_flush_leaves_no_timer_behind() -> None:
    stream = Stream()
    log = AccessLog(stream, Instruments())
    log.write({}, 0.0)
    log.flush()
    assert stream.writes == 1
    await asyncio.sleep(0)
    log.write({}, 0.0)
    log.flush()
    assert stream.writes == 2


async def test_lines_that_a_broken_stream_swallows_are_counted_and_the_next_are_tried() -> None:
    stream, instruments = Stream(), Instruments()
    log = AccessLog(stream, instruments)
    assert lost(instruments) == 0
    stream.broken = True
    log.write({"number": 1}, 0.0)
    log.write({"number": 2}, 0.0)
    log.flush()
    assert lost(instruments) == 2
    stream.broken = False
    log.write({"number": 3}, 0.0)
    log.flush()
    assert [line["number"] for line in stream.lines] == [3]
    assert lost(instruments) == 2


async def test_no_text_can_make_two_lines_of_one() -> None:
    stream = Stream()
    log = AccessLog(stream, Instruments())
    log.write({"path": 'a\n{"forged": true}\r\n\x00\u2028"\\'}, 0.0)
    log.flush()
    assert stream.getvalue().count(b"\n") == 1
    assert stream.lines[0]["path"] == 'a\n{"forged": true}\r\n\x00\u2028"\\'
