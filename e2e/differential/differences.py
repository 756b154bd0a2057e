"""Where the embedded API is known to differ from a real one, and why it is left at that.

`seen` says which probe shows it and where: patterns (fnmatch) of `step: path`. What no probe can
show, because every answer has it, has no entry here: `normal` leaves it out and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Difference:
    """What the embedded API does otherwise; `reason` completes "because"."""

    what: str
    reason: str
    seen: Mapping[str, tuple[str, ...]]


DIFFERENCES: Final = (
    Difference(
        "There is no server-side apply, and no managed fields.",
        "kubectl, client libraries and controllers all have another way to write.",
        {
            "server side apply": ("*: status",),
            "fields are managed": ("managers: *", "a manager's name: status"),
        },
    ),
    Difference(
        "A namespace is a name: there with its first object, and not to be written or watched.",
        "sandboxes of local mode need no preparation; nothing hangs on a namespace here.",
        {
            "namespaces are made and go": ("*: status",),
            "what is made in no namespace": ("*made: status", "of no name: status"),
            "namespaces are there": ("default: body/metadata/resourceVersion",),
            "discovery": ("namespaces: *",),
        },
    ),
    Difference(
        "Only Sandboxes, the definitions given at the start, Events, Leases and namespaces are"
        " served; definitions are no objects.",
        "it is the control plane of sandboxes on one machine, no cluster.",
        {
            "definitions are objects": ("found: ", "made: "),
            "other resources of a cluster": ("*",),
        },
    ),
    Difference(
        "Deletion ignores the propagation policies Foreground and Orphan.",
        "there is no garbage collector that would take away the finalizers they set.",
        {
            "options of a deletion": (
                "orphan: kind",
                "orphan afterwards: ",
                "foreground: kind",
                "foreground afterwards: ",
                "q-policy: kind",
                "q-policy afterwards: ",
            ),
            "finalizers hold up a deletion": (
                "in the foreground: body/metadata/finalizers/2",
                "plain in the foreground: kind",
                "plain: status",
            ),
        },
    ),
    Difference(
        "Bodies and answers are JSON: no YAML, no protobuf, no CBOR; no gzip.",
        "every client speaks JSON, and on loopback nothing is gained by packing.",
        {
            "the type of a body matters": ("type 'application/yaml': status", "yaml: status"),
            "what is accepted decides": (
                "application/yaml: *",
                "application/vnd.kubernetes.protobuf: *",
            ),
            "heads of answers": ("packed: *",),
        },
    ),
    Difference(
        "Accept is read as HTTP has it (weights of 0, case), in the order in which forms are"
        " listed; only v1 of Tables is served.",
        "clients of Kubernetes list what they prefer first, and v1 is what they ask for.",
        {
            "what is accepted decides": (
                "application/json;as=Table;v=v1beta1*",
                "application/json;q=0: *",
                "application/json;v=v2: *",
                "APPLICATION/JSON: *",
                "application/json;as=Table;v=v1;g=meta.k8s.io;q=0.5,application/json: 2",
            ),
            "metadata alone is given": ("many as one: status", "one as many: status"),
        },
    ),
    Difference(
        "What a client got wrong is a 400, 409, 413 or 422 also where a real one says 500.",
        "a 5xx would be tried again, in vain.",
        {
            "a version of what is new is refused": ("version '7': status",),
            "a body may be too large": ("object: status",),
            "putting needs a version and the same object": ("no number: status",),
            "a merge patch may name what it was made from": ("no number: status",),
            "versions of a list": ("one of a text: status",),
            "beginnings that do not go together": ("no version: status", "negative: status"),
        },
    ),
    Difference(
        "A patch whose outcome cannot be read is a 400, where a real one says 422.",
        "it is the same refusal as of the object itself; both mean: do not try again.",
        {
            "a merge patch may name what it was made from": (
                "other version of the kind: status",
                "unknown, strictly: status",
            ),
            "an update may break nothing anew": ("label* of a *: status",),
            "a json patch may be sloppy": ("the whole: status",),
        },
    ),
    Difference(
        "A JSON Patch must be what RFC 6902 demands: targets that exist, values, plain indexes.",
        "what is taken here is taken there, and means the same.",
        {
            "a json patch may be sloppy": (
                "test for null: status",
                "replace nothing: status",
                "negative index: status",
                "leading zero: status",
                "no value: status",
            )
        },
    ),
    Difference(
        "A field that stands twice in a body is not told of: the last one counts.",
        "kubectl tells of it itself when it reads the file.",
        {"fields given twice are told of": ("Warn: headers/warning", "Strict: status")},
    ),
    Difference(
        "Some refusals name fewer causes, or another place for them.",
        "the field that is wrong is named; what else a real one adds are consequences of it.",
        {
            "what breaks the schema is refused field by field": (
                "number: body/details/causes/<nil>",
                "any of: body/details/causes/*",
            ),
            "schemas are held to": (
                "fraction: body/details/causes/<nil>",
                "int32: body/details/causes/*",
            ),
            "names are made": ("bad prefix: body/details/causes/metadata.generateName",),
        },
    ),
    Difference(
        "An integer must be written as one (2, not 2.0), and a year must be at least 1.",
        "it is how Python reads numbers and times; no client writes others.",
        {
            "schemas are held to": ("whole-float: status",),
            "times are taken as rfc 3339 has them": ("year: ",),
        },
    ),
    Difference(
        "The metadata of an embedded resource is not judged.",
        "no definition of a sandbox API has one (x-kubernetes-embedded-resource).",
        {
            "schemas are held to": (
                "embedded: headers/warning",
                "embedded: body/spec/template/metadata/x",
                "embedded-bad: status",
            )
        },
    ),
    Difference(
        "Warnings are of unknown fields alone, and owners named twice are kept.",
        "they advise; what is stored means the same.",
        {
            "metadata is judged": (
                "finalizer without a domain: headers/warning",
                "two controllers: *",
                "owner twice: *",
            ),
            "a body must be of the kind of its path": ("other version: headers/warning",),
            "leases are held": ("of gates that are shut: headers/warning",),
        },
    ),
    Difference(
        "Strategic merge of lists that it would merge is refused (415).",
        "a merge patch in its place would lose what others have put there.",
        {
            "lists of leases are merged": (
                "finalizers strategically: status",
                "no finalizers: body/metadata/resourceVersion",
            )
        },
    ),
    Difference(
        "Events with an eventTime are not held to the rules of events.k8s.io; none can be selected"
        " by `source`.",
        "local mode writes those of core/v1, whose rules are held to.",
        {"events of the newer kind": ("with too little: status", "by source: status")},
    ),
    Difference(
        "Tables describe their columns in other words, or not at all, and Events have columns of"
        " their own.",
        "kubectl shows no descriptions; the columns come from one mechanism for all resources.",
        {
            "tables are printed": ("*columnDefinitions/*/description",),
            "a watch prints rows": ("*columnDefinitions/*/description",),
            "namespaces are there": (
                "row: body/columnDefinitions/*/description",
                "row: body/columnDefinitions/2/type",
            ),
            "columns are read from objects": (
                "*columnDefinitions/*/description",
                "leases: body/columnDefinitions/2/type",
                "events: body/columnDefinitions/*",
            ),
        },
    ),
    Difference(
        "A version that is not reached yet ends a watch at once (504).",
        "nobody else writes; the data directory was emptied, and the client must list again.",
        {"a version to come": ("watched: events*",)},
    ),
    Difference(
        "A limit holds for a list of version 0, too.",
        "there is no cache to be served from, for whose sake the limit would be ignored.",
        {"versions of a list": ("limited of zero: 1",)},
    ),
    Difference(
        "The last bookmark of a watch that began without a version is like any other.",
        "only who asks for initial events is told of their end.",
        {
            "a watch ends when its time is up": ("with bookmarks: *initial-events-end",),
            "a watch prints rows": ("bookmark: *initial-events-end",),
        },
    ),
    Difference(
        "A watch with `continue` is served, and there is no path `/watch/`.",
        "the one means nothing, the other is deprecated since Kubernetes 1.11.",
        {
            "beginnings that do not go together": ("continue: status",),
            "a watch by its old path": ("status: ",),
        },
    ),
    Difference(
        "What is not served is a Status in JSON; a real one writes plain text at unknown paths.",
        "clients read both, and one form is simpler.",
        {
            "discovery": ("no group: kind", "no version: kind"),
            "documents": ("/livez/nothing: kind", "root: kind"),
            "lists reach as far as their path": ("named in all: kind",),
            "what is not there": ("*: kind",),
            "spellings of a path": ("double slash: 1", "leading double: 1", "bad escape: *"),
        },
    ),
    Difference(
        "A method that does not fit its path is a 405.",
        "a real one answers 400, 404 or 409 as its parts happen to find; POST to discovery reads.",
        {
            "kinds of patches": ("the collection: status",),
            "lists reach as far as their path": ("*in all: status",),
            "what is not there": ("* collection or object: status",),
            "discovery": ("posted: status", "resources posted: status"),
            "other methods": ("HEAD /version: status",),
        },
    ),
    Difference(
        "A path is what it says: nothing behind a subresource, no encoded slash, no empty name.",
        "what a real one makes of such paths is chance.",
        {
            "a status is apart": ("yet another: status",),
            "spellings of a path": ("encoded slash: *", "no namespace: *"),
        },
    ),
    Difference(
        "There is no aggregated discovery, and no hash of storage versions.",
        "clients that prefer them take the plain documents, and with so few groups lose nothing.",
        {
            "aggregated discovery": ("*",),
            "discovery": ("*storageVersionHash",),
        },
    ),
    Difference(
        "Health has no single checks, and there are no metrics, no list of paths at the root, no"
        " emulated version and no shared parameters in OpenAPI.",
        "they tell of the parts of a real server, which are not there.",
        {
            "documents": (
                "version: fields/*",
                "/readyz/ping: status",
                "metrics: ",
                "root paths: ",
                "v2: *",
            )
        },
    ),
    Difference(
        "Answers have no Audit-Id and no flow schema, and name the server.",
        "nothing is audited, and there is one priority.",
        {"heads of answers": ("one: *", "absent: *", "version: *")},
    ),
    Difference(
        "Nobody is anonymous: without a token, too, it is a 401.",
        "there are no roles that could let a stranger in or keep him out.",
        {
            "strangers are refused": (
                "empty: status",
                "other: status",
                "none: status",
            )
        },
    ),
    Difference(
        "kubectl is told the accepted types of patches without apply.",
        "there is no server-side apply.",
        {"kubectl applies patches and waits": ("strategic: err",)},
    ),
)
