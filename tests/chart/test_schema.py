"""Values that are wrong are refused, and helm says which."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jsonschema
import pytest

from gateway.settings.model import NAMES, Settings, effective, kind_of
from tests.chart.helm import Helm, HelmFailed
from tests.chart.schema import FILE, NO_VALUES, inserted, settings_schema
from tests.chart.values import MATRIX, OBSERVED, RESIZE, STANDBY, merged, minimal


def test_the_schema_is_that_of_the_settings() -> None:
    document = FILE.read_text(encoding="utf-8")
    assert document == inserted(document)


def test_every_setting_can_be_given_unless_the_chart_sets_it() -> None:
    left_out = set(NAMES) - settings_schema()["properties"].keys()
    files = {name for name in NAMES if name.endswith("_file")}
    assert left_out == files | NO_VALUES


@pytest.mark.parametrize("name", settings_schema()["properties"])
def test_a_default_fits_and_a_value_of_another_type_does_not(name: str) -> None:
    validator = jsonschema.Draft7Validator(settings_schema()["properties"][name])
    shown = effective(Settings.model_validate({"auth_mode": "none"}))[name]
    if kind_of(name).parse(shown) is not None:
        assert any(validator.is_valid(one) for one in readings(shown)), shown
    assert not validator.is_valid({"a": {}})
    assert not validator.is_valid([[]])
    assert not validator.is_valid(None)


def readings(text: str) -> list[object]:
    """Return what a user of YAML may mean by a value that is written as `text`."""
    found: list[object] = [text, text.split(",") if text else [], {}]
    with contextlib.suppress(ValueError):
        found.append(json.loads(text))
    return found


@pytest.mark.parametrize(
    ("more", "culprit"),
    [
        ({"settings": {"wake_timeot": "3m"}}, "wake_timeot"),
        ({"settings": {"wake_timeout": 90}}, "/settings/wake_timeout"),
        ({"settings": {"wake_timeout": "90"}}, "/settings/wake_timeout"),
        ({"settings": {"max_headers": "many"}}, "/settings/max_headers"),
        ({"settings": {"max_headers": 0}}, "/settings/max_headers"),
        ({"settings": {"max_uri_bytes": "16KB"}}, "/settings/max_uri_bytes"),
        ({"settings": {"access_log": "yes"}}, "/settings/access_log"),
        ({"settings": {"auth_mode": "password"}}, "/settings/auth_mode"),
        ({"settings": {"dialects": "native"}}, "/settings/dialects"),
        ({"settings": {"dialects": ["nativ"]}}, "/settings/dialects/0"),
        ({"settings": {"tls_key_file": "/key"}}, "tls_key_file"),
        ({"settings": {"kubeconfig": "/kubeconfig"}}, "kubeconfig"),
        ({"settings": {"jwt_jwks": "/keys"}}, "/settings/jwt_jwks"),
        ({"settings": {"peer_selector": "app=gateway"}}, "peer_selector"),
        ({"settings": {"dialects": ["native", "native"]}}, "/settings/dialects"),
        ({"settings": {"namespaces": ["a", "a"]}}, "/settings/namespaces"),
        ({"settings": {"namespaces": ["Team-A"]}}, "/settings/namespaces/0"),
        ({"settings": {"namespaces": [""]}}, "/settings/namespaces/0"),
        ({"settings": {"data_listen": "0.0.0.0:65536"}}, "/settings/data_listen"),
        ({"settings": {"resize_listen": "8082"}}, "/settings/resize_listen"),
        ({"settings": {"resize_cpu_unit": "1Gi"}}, "/settings/resize_cpu_unit"),
        ({"settings": {"resize_cpu_unit": 0}}, "/settings/resize_cpu_unit"),
        ({"sandboxNetworkPolicy": {"namespaces": ["a", "a"]}}, "/sandboxNetworkPolicy/namespaces"),
        ({"observer": {"ca": {"secret": "a"}}}, "/observer/ca"),
        ({"replica": 3}, "replica"),
        ({"files": {"adminToken": {"token": "my-secret"}}}, "/files/adminToken"),
        ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
    ],
)
def test_helm_refuses_and_names(helm: Helm, more: dict[str, Any], culprit: str) -> None:
    with pytest.raises(HelmFailed, match=culprit):
        helm.text(merged(minimal(), more))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": {"repository": "a"}}, "settings.auth_mode is needed"),
        ({"settings": {"auth_mode": "none"}}, "image.repository is needed"),
        (merged(minimal(), {"serviceAccount": {"create": False}}), "serviceAccount.name"),
        (merged(minimal(), {"ingress": {"enabled": True}}), "ingress.hosts"),
        (merged(minimal(), {"httpRoute": {"enabled": True}}), "httpRoute.parentRefs"),
        (
            merged(minimal(), {"sandboxNetworkPolicy": {"enabled": True}}),
            "sandboxNetworkPolicy.namespaces",
        ),
        (
            minimal(data_listen="0.0.0.0:8080", admin_listen="127.0.0.1:8080"),
            "data_listen and settings.admin_listen need ports of their own",
        ),
        (
            merged(minimal(), {"autoscaling": {"enabled": True, "minReplicas": 11}}),
            "minReplicas is 11, over maxReplicas, which is 10",
        ),
        (minimal(standby=True), "settings.standby needs files.adminToken"),
        (minimal(resize=True), "settings.resize needs files.adminToken"),
        (
            merged(RESIZE, {"settings": {"resize_listen": "0.0.0.0:8081"}}),
            "settings.resize_listen needs a port of its own",
        ),
        (merged(minimal(), {"observer": {"enabled": True}}), "settings.standby is false"),
        (
            merged(STANDBY, {"observer": {"enabled": True}}),
            "observer.enabled needs files.observerToken",
        ),
        (
            merged(OBSERVED, {"networkPolicy": {"enabled": True}}),
            "observer.enabled needs networkPolicy.adminFrom",
        ),
        (
            merged(MATRIX["jwt by URL"], {"files": {"jwks": {"configMap": "keys"}}}),
            "settings.jwt_jwks and a file",
        ),
    ],
)
def test_what_is_missing_or_doubled_is_said(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(HelmFailed, match=said):
        helm.text(values)
