"""The knobs of sleep: what counts as use, when an idle sandbox sleeps, and who decides that."""

from __future__ import annotations

from gateway.settings.group import Group, knob
from gateway.settings.types import (  # noqa: TC001 - pydantic reads them when it runs
    Count,
    Duration,
    DurationOrZero,
    Methods,
    Networks,
    OptionalNamespace,
    OptionalText,
    Paths,
    Phrases,
    Rate,
    SecretFile,
    Switch,
)


class Standby(Group):
    """Holds and standby"""

    standby: Switch = knob(
        "false",
        "Put idle sandboxes to sleep whose policy asks for it (annotation "
        "sandbox-gateway.dev/auto-standby or spec.standby), and renew what their own controllers "
        "would end while they are used.",
    )
    standby_min_uptime: DurationOrZero = knob(
        "10s", "How long a sandbox runs at least before it sleeps again, whatever its policy says."
    )
    standby_concurrency: Count = knob("16", "Sandboxes that are put to sleep at one time.")
    standby_check_timeout: Duration = knob(
        "2s",
        "How long a guest is asked whether it may sleep (annotation "
        "sandbox-gateway.dev/standby-check). No answer is a no.",
    )
    idle_deployments: Switch = knob(
        "false",
        "Whether Deployments and StatefulSets that traffic may wake, and that have no policy of "
        "their own, have that of idle_deployments_after.",
    )
    idle_deployments_after: Duration = knob(
        "30m", "Their idle time. At least 5m: a workload takes long to start."
    )
    hold_cooldown: DurationOrZero = knob(
        "1s",
        "From the end of a pin or a hold until a sandbox may sleep, and from that of its last use "
        "until it counts as idle to a platform with a clock of its own.",
    )
    hold_max: Duration = knob("24h", "The longest time for which one call of the API may hold.")
    activity_writes_per_second: Rate = knob(
        "10",
        "How many sandboxes a second may have noted on their objects since when they are idle, "
        "which gateways that begin anew go by.",
    )
    uncounted_methods: Methods = knob("", "Requests by these methods are no use of a sandbox.")
    uncounted_paths: Paths = knob("", "Nor are requests whose path begins with one of these.")
    uncounted_user_agents: Phrases = knob(
        "", "Nor are requests whose User-Agent contains one of these, such as GoogleHC/."
    )
    uncounted_pings: Switch = knob(
        "false",
        "Whether an open WebSocket is no use while only pings and pongs pass. When its sandbox "
        "sleeps it is closed, so that its client comes again.",
    )
    observe_connections: Switch = knob(
        "false",
        "Whether connections that bypass the gateway count as use. `sandbox-gateway observe` must "
        "then run on every node; where it does not, nothing sleeps.",
    )
    observer_token_file: SecretFile = knob(
        None, "File with the bearer token that observers show to this gateway."
    )
    observed_ignore_cidrs: Networks = knob(
        "", "Sources of such connections that are no use of any sandbox, such as the nodes."
    )


class Replicas(Group):
    """Several replicas"""

    lease_name: OptionalText = knob(
        None,
        "The Lease by which replicas settle who puts sandboxes to sleep. Without one, this replica "
        "is taken for the only one.",
    )
    lease_duration: Duration = knob("15s", "How long a replica leads that is not heard of.")
    pod_name: OptionalText = knob(None, "The name of this replica's pod.")
    pod_namespace: OptionalNamespace = knob(None, "The namespace of the replicas and their Lease.")
    peer_selector: OptionalText = knob(
        None, "Labels that all replicas' pods have, and no others, such as app=gateway."
    )
