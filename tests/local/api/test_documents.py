"""Discovery, OpenAPI, health, and the definitions behind them."""

from __future__ import annotations

from .support import BASE, Client

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def test_health_is_answered_in_plain_text(client: Client) -> None:
    for path in ("/readyz", "/livez", "/healthz"):
        assert (await client.get(path)).body == {"raw": "ok"}


async def test_groups_versions_and_resources_are_found(client: Client) -> None:
    assert (await client.get("/api")).body["versions"] == ["v1"]
    groups = (await client.get("/apis", Accept=AGGREGATED)).body["groups"]
    assert {group["name"] for group in groups} == {"coordination.k8s.io", "sandbox-gateway.dev"}
    group = (await client.get("/apis/sandbox-gateway.dev")).body
    assert group["preferredVersion"]["groupVersion"] == "sandbox-gateway.dev/v1alpha1"
    resources = (await client.get(BASE)).body["resources"]
    assert [resource["name"] for resource in resources] == ["sandboxes", "sandboxes/status"]
    assert resources[0]["shortNames"] == ["sgw"]
    assert "watch" in resources[0]["verbs"]
    core = (await client.get("/api/v1/")).body["resources"]
    assert {resource["name"] for resource in core} == {"events", "namespaces"}


async def test_openapi_describes_every_group_version(client: Client) -> None:
    root = (await client.get("/openapi/v3")).body["paths"]
    for entry in root.values():
        document = (await client.get(entry["serverRelativeURL"])).body
        for path, operations in document["paths"].items():
            for operation in operations.values():
                assert operation["x-kubernetes-group-version-kind"]["kind"]
            if path.endswith("{name}"):
                names = {parameter["name"] for parameter in operations["patch"]["parameters"]}
                assert names == {"dryRun", "fieldValidation"}
    second = (await client.get("/openapi/v2")).body
    assert "dev.sandbox-gateway.v1alpha1.Sandbox" in second["definitions"]


async def test_openapi_in_protobuf_is_not_acceptable(client: Client) -> None:
    protobuf = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert (await client.get("/openapi/v2", Accept=protobuf)).status == 406
