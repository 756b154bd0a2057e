"""Settings of tracing: what they take, where they lead, and what is told where they cannot."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gateway import app, wiring
from gateway.local.api import write_kubeconfig
from gateway.settings import Settings, SettingsError, load
from gateway.telemetry.instruments import Instruments

if TYPE_CHECKING:
    from pathlib import Path

COLLECTOR = "http://127.0.0.1:1"


def made(**knobs: str) -> Settings:
    environ = {f"SBXGW_{name.upper()}": value for name, value in knobs.items()}
    return load({"SBXGW_AUTH_MODE": "none", **environ})


@pytest.mark.parametrize(
    "endpoint", ["http://collector:4318", "https://otel.example.com/base/", "http://[::1]:4318"]
)
def test_a_collector_is_a_url(endpoint: str) -> None:
    assert made(trace_endpoint=endpoint).trace_endpoint == endpoint


@pytest.mark.parametrize(
    ("endpoint", "hint"),
    [
        ("collector:4318", "wanted a URL such as http://collector:4318"),
        ("http://", "a URL has a host"),
        ("http://user:password@collector", "no user"),
        ("http://collector?key=1", "no user or query"),
        ("http://collector:4318/v1/traces", "write it without /v1/traces"),
        ("http://collector:4318/v1/traces/", "write it without /v1/traces"),
        ("http://a b", "a URL has a host"),
    ],
)
def test_what_is_no_collector_is_told(endpoint: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        made(trace_endpoint=endpoint)


@pytest.mark.parametrize(("text", "share"), [("0", 0.0), ("0.05", 0.05), ("1", 1.0), ("1.0", 1.0)])
def test_a_share_is_from_0_to_1(text: str, share: float) -> None:
    assert made(trace_sample_ratio=text).trace_sample_ratio == share


@pytest.mark.parametrize("text", ["1.1", "-0.5", "5%", "2", "", ".5"])
def test_what_is_no_share_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="a number from 0 to 1"):
        made(trace_sample_ratio=text)


async def test_spans_are_recorded_where_they_have_somewhere_to_go() -> None:
    assert wiring.tracer(made(), Instruments()) is None
    tracer = wiring.tracer(made(trace_endpoint=COLLECTOR, trace_sample_ratio="0"), Instruments())
    assert tracer is not None
    assert tracer.field_names == {b"traceparent", b"tracestate"}
    span = tracer.request({})
    assert b"-01" not in span.lines, "the ratio is handed down"
    span.end()
    await tracer.close()


def test_nothing_of_opentelemetry_is_loaded_before_it_is_wanted() -> None:
    code = "import sys, gateway.app; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_without_its_libraries_the_start_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gateway.telemetry.opentelemetry", None)
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, "http://127.0.0.1:1", "token")
    settings = made(trace_endpoint=COLLECTOR, kubeconfig=str(kubeconfig))
    with pytest.raises(app.StartError, match=r"pip install 'sandbox-gateway\[tracing\]'"):
        async with app.running(settings, app.dialects_of(settings)):
            raise AssertionError("it started")
