"""What the chart renders is what Kubernetes takes, and it runs the gateway as it should be run."""

from __future__ import annotations

import json
import re
import ssl
import tarfile
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import trustme
import yaml

from gateway.cli.observe import observe
from gateway.settings import load
from gateway.settings.model import shown_default
from tests.chart.helm import NAME, NAMESPACE, Helm, HelmFailed, Object, of_kind, only
from tests.chart.schema import CHART
from tests.chart.values import EVERYTHING, MATRIX, OBSERVED, RESIZE, STANDBY, TLS, merged, minimal

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.model import Settings

#: The oldest that the chart says it runs on, and the newest there is a schema of.
KUBERNETES = ("1.30", "1.37")
#: Served by others than Kubernetes itself, so that there is no schema of them here.
FOREIGN = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}
#: What Kubernetes calls the gateway's pod.
POD = "gw-sandbox-gateway-5d4f8-x2x7k"

every_case = pytest.mark.parametrize("values", MATRIX.values(), ids=list(MATRIX))


def pod_of(objects: list[Object]) -> dict[str, Any]:
    pod: dict[str, Any] = only(objects, "Deployment")["spec"]["template"]["spec"]
    return pod


def settings_of(objects: list[Object]) -> str:
    text: str = only(objects, "ConfigMap")["data"]["settings.yaml"]
    return text


@every_case
def test_helm_finds_nothing_to_say_against_it(helm: Helm, values: dict[str, Any]) -> None:
    printed = helm.run("lint", "--strict", CHART, "--values", helm.file(values))
    assert "0 chart(s) failed" in printed


@every_case
def test_every_object_is_valid_to_kubernetes(helm: Helm, values: dict[str, Any]) -> None:
    objects = helm.objects(values)
    for one in objects:
        if one["kind"] not in FOREIGN:
            for version in KUBERNETES:
                kubernetes_validate.validate(one, version, strict=True)
    assert len({(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
                for one in objects}) == len(objects)  # fmt: skip


def test_all_kinds_are_rendered_by_one_case_or_another(helm: Helm) -> None:
    found = {one["kind"] for values in MATRIX.values() for one in helm.objects(values)}
    assert found == FOREIGN | {
        "ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet", "Deployment",
        "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "Role",
        "RoleBinding", "Service", "ServiceAccount", "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }  # fmt: skip


# ---- settings and files -------------------------------------------------------------------------


def variables_of(objects: list[Object]) -> dict[str, str]:
    """Return the environment of the gateway's container, less what comes from secrets."""
    found = pod_of(objects)["containers"][0]["env"]
    told = {one["name"]: one["value"] for one in found if "value" in one}
    asked = {one["name"]: one["valueFrom"].get("fieldRef") for one in found if "valueFrom" in one}
    fields = {"metadata.name": POD}
    return told | {name: fields[ref["fieldPath"]] for name, ref in asked.items() if ref}


def mounted(objects: list[Object], root: Path) -> None:
    """Write the files that the pod would see, below `root`."""
    contents = {"token": "secret", "page.html": "<p>$title</p>", "jwks.json": '{"keys": []}'}
    contents["keys"] = "k1:" + "QUJDRA" * 10 + "QUJD"
    authority = trustme.CA()
    certificate = authority.issue_cert("gateway.example.com")
    contents["tls.crt"] = certificate.cert_chain_pems[0].bytes().decode()
    contents["tls.key"] = certificate.private_key_pem.bytes().decode()
    contents["ca.crt"] = contents["all.crt"] = authority.cert_pem.bytes().decode()
    contents["settings.yaml"] = settings_of(objects).replace("/etc/", f"{root}/etc/")
    pod = pod_of(objects)
    places = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    for volume in pod["volumes"]:
        directory = root / places[volume["name"]].lstrip("/")
        directory.mkdir(parents=True)
        source = volume.get("secret") or volume["configMap"]
        for item in source.get("items", [{"key": "settings.yaml", "path": "settings.yaml"}]):
            (directory / item["path"]).write_text(contents[item["key"]])


def loaded(objects: list[Object], root: Path) -> Settings:
    """Return what the gateway makes of its file, which is below `root`, and its environment."""
    told = variables_of(objects)
    own = {name: value for name, value in told.items() if name.startswith("SBXGW_")}
    return load(own | {"SBXGW_CONFIG": f"{root}{told['SBXGW_CONFIG']}"})


@every_case
def test_the_gateway_takes_the_settings_and_finds_their_files(
    helm: Helm, values: dict[str, Any], tmp_path: Path
) -> None:
    objects = helm.objects(values)
    mounted(objects, tmp_path)
    settings = loaded(objects, tmp_path)
    wanted = values["settings"]
    assert settings.auth_mode.value == wanted["auth_mode"]
    assert list(settings.namespaces) == wanted.get("namespaces", [])
    assert settings.max_connections == wanted.get("max_connections", settings.max_connections)
    ports = {one["name"]: one["containerPort"] for one in pod_of(objects)["containers"][0]["ports"]}
    listeners = {"data": settings.data_listen, "admin": settings.admin_listen}
    if settings.resize:
        listeners["agents"] = settings.resize_listen
    assert ports == {name: listener.port for name, listener in listeners.items()}


def test_what_the_chart_sets_by_itself_are_the_gateways_own_defaults() -> None:
    written = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    loaded = load({"SBXGW_AUTH_MODE": "none"})
    for name in ("data_listen", "admin_listen", "resize_listen", "drain_delay", "drain_timeout"):
        assert written.pop(name) == shown_default(name)
    assert written.pop("standby") is loaded.standby is False
    assert written.pop("resize") is loaded.resize is False
    assert written.pop("resize_informant_port") == loaded.resize_informant_port
    assert written.pop("namespaces") == list(loaded.namespaces)
    assert written.pop("dialects") == [one.value for one in loaded.dialects]
    assert not written


def test_authorities_of_ones_own_are_found_where_openssl_looks_for_them(
    helm: Helm, tmp_path: Path
) -> None:
    objects = helm.objects(EVERYTHING)
    mounted(objects, tmp_path)
    trust = ssl.create_default_context(cafile=f"{tmp_path}{variables_of(objects)['SSL_CERT_FILE']}")
    assert len(trust.get_ca_certs()) == 1
    assert "SSL_CERT_FILE" not in variables_of(helm.objects(minimal()))


def test_what_the_collector_of_traces_asks_for_comes_from_a_secret(helm: Helm) -> None:
    def referred(values: Object) -> list[object]:
        found = pod_of(helm.objects(values))["containers"][0]["env"]
        return [one["valueFrom"] for one in found if one["name"] == "OTEL_EXPORTER_OTLP_HEADERS"]

    assert referred(EVERYTHING) == [{"secretKeyRef": {"name": "collector", "key": "headers"}}]
    assert referred(minimal()) == []


def test_no_secret_is_in_what_is_rendered(helm: Helm) -> None:
    text = helm.text(EVERYTHING)
    assert not of_kind(list(yaml.safe_load_all(text)), "Secret")
    assert "PRIVATE KEY" not in text


def test_files_are_mounted_whole_so_that_their_changes_are_seen(helm: Helm) -> None:
    mounts = pod_of(helm.objects(EVERYTHING))["containers"][0]["volumeMounts"]
    assert len(mounts) == 10
    assert all(one["readOnly"] and "subPath" not in one for one in mounts)


def test_a_change_of_settings_replaces_the_pods(helm: Helm) -> None:
    def checksum(**settings: object) -> str:
        template = only(helm.objects(minimal(**settings)), "Deployment")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/settings"]
        return found

    assert checksum() == checksum()
    assert checksum() != checksum(log_level="debug")


# ---- the pod ------------------------------------------------------------------------------------


@every_case
def test_the_pod_is_as_restricted_as_kubernetes_knows(helm: Helm, values: dict[str, Any]) -> None:
    pod = pod_of(helm.objects(values))
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert "lifecycle" not in container


@pytest.mark.parametrize(
    ("delay", "timeout", "seconds"),
    [
        ("5s", "1m", 80), ("0s", "0s", 15), ("1500ms", "1h0m2s", 3619), ("1.5h", "1m30s", 5505),
        ("300us", "10ns", 17), ("1m1ms", "2s", 78),
    ],
)  # fmt: skip
def test_the_pod_has_time_to_drain(helm: Helm, delay: str, timeout: str, seconds: int) -> None:
    values = minimal(drain_delay=delay, drain_timeout=timeout)
    pod = pod_of(helm.objects(values))
    assert pod["terminationGracePeriodSeconds"] == seconds


def test_a_grace_period_is_refused_if_draining_takes_longer(helm: Helm) -> None:
    enough = merged(minimal(), {"terminationGracePeriodSeconds": 80})
    assert pod_of(helm.objects(enough))["terminationGracePeriodSeconds"] == 80
    with pytest.raises(HelmFailed, match="is 79, but draining needs 80"):
        helm.text(merged(minimal(), {"terminationGracePeriodSeconds": 79}))


def test_a_policy_that_would_cut_off_the_gateway_itself_is_refused(helm: Helm) -> None:
    home = merged(minimal(), {"sandboxNetworkPolicy": {"enabled": True, "namespaces": [NAMESPACE]}})
    with pytest.raises(HelmFailed, match="would cut off the gateway itself"):
        helm.text(home)
    some = {"podSelector": {"matchLabels": {"sandbox": "true"}}}
    for mended in ({"networkPolicy": {"enabled": True}}, {"sandboxNetworkPolicy": some}):
        assert of_kind(helm.objects(merged(home, mended)), "NetworkPolicy")


def test_probes_ask_the_admin_port_in_the_protocol_that_it_speaks(helm: Helm) -> None:
    for files, scheme in (({}, "HTTP"), (TLS, "HTTPS")):
        (container,) = pod_of(helm.objects(merged(minimal(), {"files": files})))["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            assert (asked["port"], asked["scheme"]) == ("admin", scheme)


def test_an_autoscaler_alone_says_how_many_pods_there_are(helm: Helm) -> None:
    assert only(helm.objects(minimal()), "Deployment")["spec"]["replicas"] == 2
    assert "replicas" not in only(helm.objects(EVERYTHING), "Deployment")["spec"]


# ---- the network --------------------------------------------------------------------------------


@every_case
def test_everything_that_selects_the_pods_does_select_them(
    helm: Helm, values: dict[str, Any]
) -> None:
    objects = helm.objects(values)
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert only(objects, "Deployment")["spec"]["selector"]["matchLabels"].items() <= labels
    for service in of_kind(objects, "Service"):
        assert service["spec"]["selector"].items() <= labels
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels


def test_the_admin_port_is_in_no_service_for_clients(helm: Helm) -> None:
    objects = helm.objects(EVERYTHING)
    (data,) = only(objects, "Service")["spec"]["ports"]
    assert data == {"name": "https", "port": 443, "targetPort": "data", "appProtocol": "https"}
    admin = only(objects, "Service", f"{NAME}-admin")["spec"]
    assert (admin["clusterIP"], admin["ports"][0]["targetPort"]) == ("None", "admin")
    backends = re.findall(rf"name: ({NAME}\S*)", json.dumps(of_kind(objects, "Ingress")))
    assert f"{NAME}-admin" not in backends


def test_without_peers_nobody_reaches_the_admin_port(helm: Helm) -> None:
    closed = merged(minimal(), {"networkPolicy": {"enabled": True}})
    (ingress,) = only(helm.objects(closed), "NetworkPolicy")["spec"]["ingress"]
    assert ingress == {"ports": [{"port": "data"}]}
    data, admin, *_ = only(helm.objects(EVERYTHING), "NetworkPolicy")["spec"]["ingress"]
    assert data["ports"] == [{"port": "data"}]
    assert data["from"] == EVERYTHING["networkPolicy"]["dataFrom"]
    assert admin["ports"] == [{"port": "admin"}]
    assert admin["from"] == EVERYTHING["networkPolicy"]["adminFrom"]


def test_replicas_reach_each_other_where_they_put_sandboxes_to_sleep(helm: Helm) -> None:
    objects = helm.objects(EVERYTHING)
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    policy = only(objects, "NetworkPolicy")["spec"]
    for rules, side in ((policy["ingress"], "from"), (policy["egress"], "to")):
        peers = [rule[side] for rule in rules if rule.get("ports") == [{"port": "admin"}]]
        ((peer,),) = [one for one in peers if "podSelector" in one[0]]
        # Without a namespaceSelector these are the pods of its own namespace.
        assert peer.keys() == {"podSelector"}
        assert peer["podSelector"]["matchLabels"].items() <= labels
    awake = merged(minimal(), {"networkPolicy": {"enabled": True}})
    rules = only(helm.objects(awake), "NetworkPolicy")["spec"]
    assert {"port": "admin"} not in [
        port for rule in rules["ingress"] + rules["egress"] for port in rule.get("ports", [])
    ]


@pytest.mark.parametrize(
    ("more", "peer"),
    [
        ({}, {"namespaceSelector": {}}),
        ({"settings": {"namespaces": ["team-a"]}}, {"namespaceSelector": {"matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team-a"]}]}}),
        ({"networkPolicy": {"sandboxesTo": [{"podSelector": {}}]}}, {"podSelector": {}}),
    ],
    ids=["all namespaces", "some", "by their own labels"],
)  # fmt: skip
def test_informants_reach_their_agents_from_where_sandboxes_are_and_are_reached_there(
    helm: Helm, more: dict[str, Any], peer: Object
) -> None:
    for base, wanted in ((RESIZE, [[peer]]), (minimal(), [])):
        values = merged(merged(base, {"networkPolicy": {"enabled": True}}), more)
        policy = only(helm.objects(values), "NetworkPolicy")["spec"]
        assert [
            rule["from"] for rule in policy["ingress"] if rule["ports"] == [{"port": "agents"}]
        ] == wanted
        assert {"to": [peer]} in policy["egress"]


def test_no_service_leads_to_the_agents(helm: Helm) -> None:
    for service in of_kind(helm.objects(EVERYTHING), "Service"):
        assert "agents" not in [port["targetPort"] for port in service["spec"]["ports"]]


def test_only_the_gateway_is_let_through_to_sandboxes(helm: Helm) -> None:
    objects = helm.objects(EVERYTHING)
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    found = [one for one in of_kind(objects, "NetworkPolicy") if one["metadata"]["name"] != NAME]
    assert [one["metadata"]["namespace"] for one in found] == ["team-a", "team-b"]
    for one in found:
        assert one["spec"]["podSelector"] == {}
        ((peer,),) = (rule["from"] for rule in one["spec"]["ingress"])
        assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "edge"}
        assert peer["podSelector"]["matchLabels"].items() <= labels


# ---- sleep --------------------------------------------------------------------------------------


def observer_of(objects: list[Object]) -> Object:
    template: Object = only(objects, "DaemonSet", f"{NAME}-observer")["spec"]["template"]
    return template


@pytest.mark.parametrize(
    "values", [STANDBY, RESIZE, EVERYTHING], ids=["standby", "resize", "everything"]
)
def test_replicas_know_their_lease_themselves_and_each_other(
    helm: Helm, values: dict[str, Any], tmp_path: Path
) -> None:
    objects = helm.objects(values)
    mounted(objects, tmp_path)
    settings = loaded(objects, tmp_path)
    assert settings.standby or settings.resize
    assert (settings.lease_name, settings.pod_name) == (NAME, POD)
    assert settings.pod_namespace == NAMESPACE
    assert settings.peer_selector is not None
    selected = dict(part.split("=") for part in settings.peer_selector.split(",")).items()
    assert selected <= only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    for other in of_kind(objects, "DaemonSet"):
        assert not selected <= other["spec"]["template"]["metadata"]["labels"].items()


def test_a_gateway_that_need_not_lead_is_told_of_no_replicas(helm: Helm) -> None:
    objects = helm.objects(minimal())
    assert "lease_name" not in settings_of(objects)
    assert "SBXGW_POD_NAME" not in variables_of(objects)


def test_connections_count_where_there_are_observers(helm: Helm, tmp_path: Path) -> None:
    for values, wanted in ((OBSERVED, True), (STANDBY, False)):
        objects, root = helm.objects(values), tmp_path / str(wanted)
        mounted(objects, root)
        settings = loaded(objects, root)
        assert settings.observe_connections is wanted
        assert (settings.observer_token_file is not None) is wanted
        assert bool(of_kind(objects, "DaemonSet")) is wanted


def test_an_observer_may_watch_the_network_of_its_node_and_nothing_else(helm: Helm) -> None:
    pod = observer_of(helm.objects(EVERYTHING))["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0, "runAsGroup": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert (pod["hostNetwork"], pod["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    assert not {"hostPID", "hostIPC"} & pod.keys()
    assert pod["automountServiceAccountToken"] is False
    assert "ports" not in container
    assert {volume.keys() & {"secret", "configMap"} != set() for volume in pod["volumes"]} == {True}
    assert all(one["readOnly"] for one in container["volumeMounts"])


@pytest.mark.parametrize(("values", "scheme"), [(OBSERVED, "http"), (EVERYTHING, "https")])
def test_observers_find_every_replica(helm: Helm, values: dict[str, Any], scheme: str) -> None:
    objects = helm.objects(values)
    pod = observer_of(objects)["spec"]
    (container,) = pod["containers"]
    command, *options = container["args"]
    assert command == "observe"
    known = {one: param for param in observe.params for one in param.opts}
    given = dict(option.split("=", 1) for option in options)
    assert given.keys() <= known.keys()
    assert known["--node"].envvar == "NODE_NAME"
    told = {name.removeprefix("--"): value for name, value in given.items()}
    admin = only(objects, "Service", f"{NAME}-admin")
    (port,) = admin["spec"]["ports"]
    assert told.pop("gateway") == f"{scheme}://{NAME}-admin.{NAMESPACE}.svc:{port['port']}"
    # One that is not ready yet has to know what is used before it is asked.
    assert admin["spec"]["publishNotReadyAddresses"] is True
    places = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    files = {
        f"{places[volume['name']]}/{item['path']}": volume
        for volume in pod["volumes"]
        for item in (volume.get("secret") or volume["configMap"])["items"]
    }
    assert files[told.pop("token-file")]["secret"]["secretName"] == "observers"
    if scheme == "https":
        assert files[told.pop("ca-file")]["configMap"]["name"] == "admin-ca"
    assert told == {"log-format": "json"}
    asked = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]}
    assert asked == {"NODE_NAME": "spec.nodeName"}


# ---- the package --------------------------------------------------------------------------------


def test_it_can_be_packaged_with_its_crd(helm: Helm, tmp_path: Path) -> None:
    helm.run("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("sandbox-gateway-*.tgz")
    with tarfile.open(package) as archive:
        names = {name.removeprefix("sandbox-gateway/") for name in archive.getnames()}
    assert {"Chart.yaml", "values.schema.json", "crds/sandboxes.yaml", "alerts.yaml"} <= names
    assert "dashboards/sandbox-gateway.json" in names


def notes_of(helm: Helm, values: dict[str, Any]) -> str:
    file = helm.file(values)
    printed = helm.run(
        "install", "gw", CHART, "--namespace", "edge", "--values", file, "--dry-run=client"
    )
    return printed.partition("NOTES:")[2]


def test_the_notes_name_the_next_commands(helm: Helm) -> None:
    notes = notes_of(helm, minimal())
    assert "auth_mode access-token" in notes
    assert f"kubectl -n edge rollout status deployment/{NAME}" in notes
    assert "curl -i" in notes
    assert "sleep" not in notes
    assert "right-sizes" not in notes


def test_the_notes_say_what_sleep_and_observers_ask_for(helm: Helm) -> None:
    notes = notes_of(helm, OBSERVED)
    assert "puts idle sandboxes to sleep" in notes
    assert "edge must admit them (Pod Security: privileged)" in notes


def test_the_notes_say_what_right_sizing_sees_and_asks_for(helm: Helm) -> None:
    notes = notes_of(helm, RESIZE)
    assert "reads all pods and nodes of the cluster" in notes
    assert "Let nobody else reach the informants, port 10301." in notes
