"""Alerts and the dashboard ask for metrics and labels that the gateway has."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from gateway.settings.model import NAMES
from gateway.telemetry.instruments import PREFIX
from tests.chart.helm import NAME, NAMESPACE, Helm, only
from tests.chart.schema import CHART
from tests.chart.values import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE = CHART.parents[1] / "gateway"
#: What the name of an instrument becomes, by how it is made.
SUFFIXES = {
    "counter": ("_total",), "gauge": ("",), "gauges": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}  # fmt: skip
#: What the names of one election's instruments begin with: that of standby, that of right-sizing.
ROLES = ("", "resize_")
#: Labels that Prometheus adds to what it scrapes.
SCRAPED = {"job", "namespace", "pod", "le"}


@functools.cache
def exported() -> dict[str, set[str]]:
    """Return every metric that the code makes, with its labels."""
    found = {}
    for file in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            made = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if made not in SUFFIXES or not node.args:
                continue
            names = names_in(node.args[0])
            texts = [str(one.value) for one in node.args[1:] if isinstance(one, ast.Constant)]
            if names and texts:
                for name, suffix in itertools.product(names, SUFFIXES[made]):
                    found[f"{PREFIX}{name}{suffix}"] = set(texts[1:])
    return found


def names_in(node: ast.expr) -> list[str]:
    """Return the names of an instrument: one that begins with a role's prefix has several."""
    match node:
        case ast.Constant(value=str(name)):
            return [name]
        case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(name))]):
            return [f"{role}{name}" for role in ROLES]
    return []


def expressions() -> Iterator[str]:
    """Yield everything that is asked of Prometheus."""
    yield from (one["expr"] for one in yaml.safe_load((CHART / "alerts.yaml").read_text()))
    dashboard = json.loads((CHART / "dashboards/sandbox-gateway.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_asks_for_what_there_is(expression: str) -> None:
    known = exported()
    names = re.findall(rf"{PREFIX}\w+", expression)
    assert names or "up{" in expression
    labels: set[str] = set()
    for name in names:
        assert name in known
        labels |= known[name]
    grouped = [
        one.strip()
        for group in re.findall(r"by \(([^)]*)\)", expression)
        for one in group.split(",")
    ]
    matched = re.findall(r"(\w+)\s*=~?\"", expression)
    assert {*grouped, *matched} <= labels | SCRAPED


def test_the_metrics_of_the_code_are_found() -> None:
    assert exported()[f"{PREFIX}requests_total"] == {"outcome", "reason"}
    assert len(exported()) > 40


def test_each_alert_says_what_to_do_and_names_what_there_is() -> None:
    alerts = yaml.safe_load((CHART / "alerts.yaml").read_text())
    assert len({one["alert"] for one in alerts}) == len(alerts)
    for one in alerts:
        assert one["labels"]["severity"] in {"warning", "critical"}
        assert one["annotations"].keys() == {"summary", "runbook"}
        asked = re.findall(rf"\b({PREFIX}\w+|up\b)(\{{THIS_GATEWAY)?", one["expr"])
        assert asked
        assert all(restricted for _, restricted in asked)
        prose = " ".join(one["annotations"].values())
        assert set(re.findall(r"[a-z]+(?:_[a-z]+)+", prose)) <= {*NAMES, *exported()}


def test_alerts_are_about_this_release_alone(helm: Helm) -> None:
    (group,) = only(helm.objects(EVERYTHING), "PrometheusRule")["spec"]["groups"]
    assert len(group["rules"]) == len(yaml.safe_load((CHART / "alerts.yaml").read_text()))
    for rule in group["rules"]:
        assert "THIS_GATEWAY" not in rule["expr"]
        assert f'job="{NAME}-admin", namespace="{NAMESPACE}"' in rule["expr"]


def test_prometheus_finds_the_admin_service(helm: Helm) -> None:
    objects = helm.objects(EVERYTHING)
    monitor, service = only(objects, "ServiceMonitor"), only(objects, "Service", f"{NAME}-admin")
    labels = service["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= (
        only(objects, "Service")["metadata"]["labels"].items()
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert endpoint["scheme"] == "https"


def test_the_dashboard_is_whole(helm: Helm) -> None:
    found = only(helm.objects(EVERYTHING), "ConfigMap", f"{NAME}-dashboard")
    assert json.loads(found["data"]["sandbox-gateway.json"])["panels"]
