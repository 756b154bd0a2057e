"""Every knob of the gateway, once: its type, unit, default and meaning.

A knob's name is its key in the YAML file; `SBXGW_` and the name in upper case is its environment
variable. Defaults are written as a user would write them. The reference is rendered from here.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from gateway.settings import kinds
from gateway.settings.group import Group, knob
from gateway.settings.idle import Replicas, Standby
from gateway.settings.resize import Resize
from gateway.settings.types import (  # noqa: TC001 - pydantic reads them when it runs
    Auth,
    Collector,
    Count,
    CountOrZero,
    Dialects,
    Duration,
    DurationOrZero,
    File,
    Format,
    Header,
    Hosts,
    Level,
    Listen,
    Methods,
    Namespace,
    Namespaces,
    Networks,
    OptionalText,
    Parameter,
    Paths,
    Phrases,
    Place,
    Port,
    Prefix,
    Rate,
    Schemes,
    SecretFile,
    Share,
    Size,
    SizeOrZero,
    Suffixes,
    Switch,
    Text,
)


class Listeners(Group):
    """Listeners"""

    data_listen: Listen = knob("0.0.0.0:8080", "Where requests for sandboxes come in.")
    admin_listen: Listen = knob(
        "0.0.0.0:8081", "Where health, readiness, metrics and the admin API are served."
    )
    admin_token_file: SecretFile = knob(
        None,
        "File with the bearer token of the admin API. "
        "Without one, that API answers loopback clients only.",
    )
    tls_certificate_file: File = knob(
        None,
        "PEM file with the certificate of data_listen and its chain. Without one, plain HTTP is "
        "spoken there. This and all files of TLS are read again when they change.",
    )
    tls_key_file: SecretFile = knob(None, "PEM file with its private key, without a passphrase.")
    tls_client_ca_file: File = knob(
        None,
        "PEM file with authorities: every client of data_listen must then show a certificate of "
        "one of them.",
    )
    admin_tls_certificate_file: File = knob(None, "The same for admin_listen.")
    admin_tls_key_file: SecretFile = knob(None, "The same for admin_listen.")
    admin_tls_client_ca_file: File = knob(
        None, "The same for admin_listen. Probes of a kubelet show no certificate."
    )
    trusted_proxies: Networks = knob(
        "",
        "Peers whose X-Forwarded-* and Forwarded headers are believed and extended. "
        "All others' are overwritten.",
    )


class Targets(Group):
    """Which sandbox a request is for"""

    target_schemes: Schemes = knob(
        "e2b,agent-sandbox,host,path", "How requests may name a sandbox; the first match counts."
    )
    e2b_id_header: Header = knob("e2b-sandbox-id", "Scheme e2b: header with the sandbox id.")
    e2b_port_header: Header = knob("e2b-sandbox-port", "Scheme e2b: header with the port.")
    e2b_default_port: Port = knob(
        "49983", "Port where a request of the schemes e2b or host map names none."
    )
    agent_id_header: Header = knob(
        "X-Sandbox-ID", "Scheme agent-sandbox: header with the sandbox's name."
    )
    agent_namespace_header: Header = knob(
        "X-Sandbox-Namespace", "Scheme agent-sandbox: header with the namespace."
    )
    agent_port_header: Header = knob(
        "X-Sandbox-Port", "Scheme agent-sandbox: header with the port."
    )
    agent_uid_header: Header = knob(
        "X-Sandbox-UID", "Scheme agent-sandbox: header with the uid that the sandbox must have."
    )
    agent_timeout_header: Header = knob(
        "X-Sandbox-Timeout",
        "Scheme agent-sandbox: header with the seconds that the response may take; "
        "upstream_head_timeout is its upper bound.",
    )
    agent_default_namespace: Namespace = knob(
        "default", "Scheme agent-sandbox: namespace where a request names none."
    )
    agent_default_port: Port = knob(
        "8888", "Scheme agent-sandbox: port where a request names none."
    )
    host_suffixes: Suffixes = knob(
        "", "Scheme host: domains under which PORT-ID.DOMAIN names a sandbox."
    )
    host_map: Hosts = knob("", "Scheme host: exact hosts and the sandbox ids they stand for.")
    path_prefix: Prefix = knob("/kruise", "Scheme path: prefix of /ID/PORT/REST.")


class Credentials(Group):
    """Who may reach a sandbox"""

    auth_mode: Auth = Field(
        description="What a request must prove. access-token: the sandbox's own token; "
        "scoped-token: a token for one sandbox that your platform signed by a shared secret; "
        "jwt: one that your identity provider signed; none: nothing, so everyone who reaches "
        "data_listen reaches and wakes every sandbox. `serve` wants the choice to be made; "
        "`local` takes none."
    )
    allow_tokenless: Switch = knob(
        "false", "Mode access-token: let everyone reach a sandbox that has no token."
    )
    scoped_token_keys_file: SecretFile = knob(
        None,
        "Mode scoped-token: file with the signing keys, a line each: KEY-ID:SECRET in base64, "
        "32 bytes or more. The gateway accepts every key in it, and reads it again when it "
        "changes.",
    )
    jwt_jwks: Place = knob(
        None, "Mode jwt: where the provider's public keys are, a JSON Web Key Set: a URL or a file."
    )
    jwt_issuer: OptionalText = knob(None, "Mode jwt: what a token's iss must be.")
    jwt_audience: OptionalText = knob(
        None, "Mode jwt: what a token's aud must be or contain. Without one: anything."
    )
    jwt_leeway: DurationOrZero = knob(
        "30s", "Mode jwt: how far the provider's clock may be ahead of the gateway's."
    )
    jwt_refresh_interval: Duration = knob(
        "5m",
        "Mode jwt: how often the keys are fetched. A token with a key that is not known has them "
        "fetched at once.",
    )
    jwt_max_age: Duration = knob(
        "1h",
        "Mode jwt: how long keys are believed while they cannot be fetched again. After that "
        "nobody is let in: 503.",
    )
    jwt_fetch_timeout: Duration = knob("5s", "Mode jwt: one fetch of the keys.")
    browser_login: Switch = knob(
        "false",
        "Let browsers in to sandboxes that their host names: a page opened with a token in its "
        "query is answered by a cookie and a redirect.",
    )
    browser_login_parameter: Parameter = knob(
        "sandbox_token", "What that token is called in the query."
    )


class Requests(Group):
    """Limits on requests"""

    max_uri_bytes: Size = knob("16KiB", "Longest request target; over it 414.")
    max_header_bytes: Size = knob("64KiB", "Largest request head; over it 431.")
    max_headers: Count = knob("128", "Most header fields of a request; over it 431.")
    max_body_bytes: SizeOrZero = knob("0", "Largest request body; over it 413. 0: unlimited.")
    request_head_timeout: Duration = knob(
        "15s",
        "From a request's first byte to its whole head; and how long a TLS handshake may take.",
    )
    body_progress_timeout: Duration = knob("60s", "Longest silence of a client within a body.")
    keep_alive_timeout: Duration = knob("75s", "Longest idle time of a client's connection.")
    linger_timeout: DurationOrZero = knob(
        "5s", "How long an unread body is drained before a connection is closed."
    )
    max_connections: Count = knob("20000", "Most client connections at once; over it 503.")
    max_buffered_bytes: Size = knob(
        "512MiB",
        "Most memory for unfinished requests, and for what slow clients and sandboxes have not "
        "taken yet, of all connections together; over it 503, or the connection is closed.",
    )


class Upstream(Group):
    """Connections to sandboxes"""

    upstream_connect_timeout: Duration = knob("5s", "One attempt to connect.")
    upstream_dial_timeout: Duration = knob(
        "5s",
        "How long a port that refuses is tried for one request; after a wake port_retry_timeout "
        "is what counts.",
    )
    address_doubt: DurationOrZero = knob(
        "20s",
        "How long a sandbox is not dialled at an address that another one claims too: as late as a "
        "controller may be to tell that a pod is gone.",
    )
    upstream_dead_after: Duration = knob(
        "60s",
        "Silence of a sandbox's machine, which TCP probes, after which its connections are broken: "
        "a lost node sends no end.",
    )
    upstream_head_timeout: Duration = knob(
        "300s", "From the end of the request to the head of the response; over it 504."
    )
    tunnel_idle_timeout: Duration = knob("1h", "Longest silence of a tunnel, such as a WebSocket.")
    pool_idle_timeout: Duration = knob("60s", "How long an idle connection is kept for reuse.")
    pool_max_idle_per_sandbox: CountOrZero = knob("1024", "Most idle connections to one sandbox.")
    pool_max_idle: Count = knob("10000", "Most idle connections to all sandboxes together.")
    upstream_allow_cidrs: Networks = knob(
        "", "Networks in which sandboxes may have their address. Empty: any that is not denied."
    )
    upstream_deny_cidrs: Networks = knob(
        "",
        "Networks that are never dialled, beside loopback, link-local and the gateway's own "
        "addresses.",
    )
    upstream_tls_verify: Switch = knob(
        "true",
        "Sandboxes that are asked by TLS must prove who they are. false: whoever gets in between "
        "reads and changes everything.",
    )
    upstream_tls_ca_file: File = knob(
        None, "PEM file with the authorities of sandboxes' certificates. Without one: the system's."
    )
    upstream_tls_certificate_file: File = knob(
        None, "PEM file with the certificate that is shown to sandboxes that ask for one."
    )
    upstream_tls_key_file: SecretFile = knob(
        None, "PEM file with its private key, without a passphrase."
    )
    preserve_host: Switch = knob(
        "true", "Send the client's Host to the sandbox; else the sandbox's address and port."
    )
    port_retry_timeout: DurationOrZero = knob(
        "10s", "After a wake, how long a port that refuses is dialled again."
    )


class Waking(Group):
    """Waking"""

    wake_timeout: Duration = knob(
        "2m", "How long one wake may take; a sandbox's own wake-timeout comes first."
    )
    wait_timeout: Duration = knob("2m", "How long one request waits for its sandbox.")
    wake_waiters_per_sandbox: Count = knob("2000", "Most requests that wait for one sandbox.")
    wake_waiters_total: Count = knob("20000", "Most requests that wait at once.")
    wake_waiting_bytes: Size = knob("256MiB", "Most memory that waiting requests may hold.")
    wake_patches_per_second: Rate = knob("100", "Wakes asked of the Kubernetes API per second.")
    wake_patches_burst: Count = knob("200", "Wakes above that rate that a quiet time saves up.")
    wake_namespace_patches_per_second: Rate = knob("50", "The same rate for one namespace.")
    wake_namespace_patches_burst: Count = knob("100", "The same burst for one namespace.")
    wake_breaker_failures: Count = knob(
        "3",
        "Failed wakes in a row after which a sandbox's requests fail at once for a while. "
        "One that timed out is enough by itself: it has cost its whole time.",
    )
    wake_breaker_min: Duration = knob("2s", "The first such while; it doubles with each failure.")
    wake_breaker_max: Duration = knob("60s", "The longest such while.")
    never_wake_methods: Methods = knob("", "Methods of requests that never wake a sandbox.")
    never_wake_paths: Paths = knob(
        "", "Beginnings of forwarded paths whose requests never wake a sandbox."
    )
    never_wake_user_agents: Phrases = knob(
        "kube-probe/,ELB-HealthChecker/,GoogleHC/",
        "Parts of the User-Agent, in any case, of requests that never wake a sandbox.",
    )
    never_wake_prefetch: Switch = knob("true", "Browsers' speculative loads never wake a sandbox.")
    never_wake_upgrades: Switch = knob(
        "false", "Upgrades, such as WebSockets that reconnect by themselves, never wake a sandbox."
    )


class Pages(Group):
    """Pages for browsers"""

    waiting_page_after: DurationOrZero = knob(
        "5s",
        "How long a browser that opens a sleeping sandbox waits before it is shown a page that "
        "loads itself again until the sandbox answers. 0: it just waits.",
    )
    page_template_file: File = knob(
        None,
        "HTML file for that page and for errors, with the placeholders $title, $text, $status, "
        "$reason and $state (waiting or failed). Without one: a plain page.",
    )


class Cluster(Group):
    """Kubernetes"""

    dialects: Dialects = knob("native,kruise,agent-sandbox", "Sandbox APIs that are watched.")
    namespaces: Namespaces = knob("", "Namespaces that are watched. Empty: all.")
    label_selector: Text = knob("", "Only sandboxes with these labels: Kubernetes' own syntax.")
    kubeconfig: File = knob(
        None, "Kubeconfig file. Without one: the pod's service account, else ~/.kube/config."
    )
    kube_context: OptionalText = knob(None, "Context of the kubeconfig. Without one: its current.")
    list_page_size: Count = knob("500", "Objects per page of a list.")
    watch_timeout: Duration = knob("5m", "How long one watch lasts before it is renewed.")
    watch_idle_timeout: Duration = knob("90s", "Silence after which a watch counts as broken.")
    kube_request_timeout: Duration = knob("10s", "One request to the Kubernetes API.")
    stale_after: Duration = knob(
        "5m", "Time without contact to the Kubernetes API after which routes count as stale."
    )
    unready_when_stale: Switch = knob(
        "true",
        "Whether stale routes make the gateway unready, since an address may be another's by then. "
        "Without it, running sandboxes are served through any loss of the API.",
    )


class Operation(Group):
    """Shutdown, logs and traces"""

    drain_delay: DurationOrZero = knob(
        "5s", "From SIGTERM (unready at once) to the refusal of new connections."
    )
    drain_timeout: DurationOrZero = knob("60s", "How long requests in flight may then take.")
    access_log: Switch = knob("true", "Write one line for each request.")
    trace_endpoint: Collector = knob(
        None, "URL of an OpenTelemetry collector that takes traces by OTLP/HTTP. Without one: none."
    )
    trace_sample_ratio: Share = knob(
        "1", "Part of the requests that is traced, of those whose client has not decided that."
    )
    log_level: Level = knob("info", "Least level of the gateway's own log.")
    log_format: Format = knob("json", "How a log line is written.")


class Settings(
    Listeners,
    Targets,
    Credentials,
    Requests,
    Upstream,
    Waking,
    Pages,
    Standby,
    Resize,
    Replicas,
    Cluster,
    Operation,
):
    """All settings of one gateway. Made by `gateway.settings.load`; direct use is for tests."""


#: In the order of the reference.
GROUPS: Final[tuple[type[Group], ...]] = (
    Listeners, Targets, Credentials, Requests, Upstream, Waking, Pages, Standby, Resize, Replicas,
    Cluster, Operation,
)  # fmt: skip


NAMES: Final = tuple(name for group in GROUPS for name in group.model_fields)


def kind_of(name: str) -> kinds.Kind[Any]:
    """Return the kind of a setting's values."""
    found = [one for one in Settings.model_fields[name].metadata if isinstance(one, kinds.Kind)]
    return found[0]


def effective(settings: Settings) -> dict[str, str]:
    """Return every setting as it would be written in the environment."""
    return {name: kind_of(name).show(getattr(settings, name)) for name in NAMES}


def shown_default(name: str) -> str | None:
    """Return a setting's default as it would be written in the environment; None: it has none."""
    field = Settings.model_fields[name]
    if field.is_required():
        return None
    kind = kind_of(name)
    return kind.show(kind.parse(field.default))
