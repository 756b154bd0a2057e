"""A probe asks an API something and notes what it sees."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from e2e.kubectl import Kubectl, kubectl_binary
from e2e.manifests import NATIVE
from e2e.waiting import DEADLINE, until

from .normal import Normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    import httpx

JSON: Final = "application/json"
MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
NAMESPACES: Final = "/api/v1/namespaces"
WIDGETS: Final = "differential.example.dev/v1"
#: What an answer's head may say that clients heed.
_HEADERS: Final = ("content-type", "cache-control", "warning", "retry-after", "allow", "location")

Object: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two APIs; of the embedded one a namespace is there as soon as it is used."""

    client: httpx.Client
    kubectl: Callable[..., CompletedProcess[str]]
    makes_namespaces: bool

    @classmethod
    def of(
        cls, kubeconfig: Path, home: Path, client: httpx.Client, *, makes_namespaces: bool
    ) -> Side:
        """Return the API that a kubeconfig names; kubectl has its home in a directory."""
        environment = Kubectl(kubeconfig, home).environment()

        def kubectl(*arguments: str, given: str = "") -> CompletedProcess[str]:
            return subprocess.run(
                [kubectl_binary(), *arguments],
                env=environment,
                input=given,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )

        return cls(client, kubectl, makes_namespaces)


@dataclass(slots=True)
class Probe:
    """One API, a namespace of this probe's own, and what was seen so far."""

    side: Side
    namespace: str
    seen: Object = field(default_factory=dict)
    _normal: Normal = field(init=False)

    def __post_init__(self) -> None:
        self._normal = Normal(self.namespace)

    @classmethod
    def begin(cls, side: Side, name: str) -> Probe:
        """Make a namespace for it."""
        words = name.replace(" ", "-")[:40].rstrip("-")
        probe = cls(side, f"{words}-{secrets.token_hex(3)}")
        probe.make_namespace(probe.namespace)
        return probe

    def end(self) -> None:
        """Let go of what finalizers would hold for ever, and with it its definition."""
        for obj in said(self.send("GET", ""))["items"]:
            if obj["metadata"].get("finalizers"):
                self.change(obj["metadata"]["name"], {"metadata": {"finalizers": None}})

    def make_namespace(self, name: str) -> None:
        if self.side.makes_namespaces:
            answer = self.side.client.post(NAMESPACES, json={"metadata": {"name": name}})
            assert answer.is_success, answer.text

    @property
    def sandboxes(self) -> str:
        return self.path(NATIVE, "sandboxes")

    def path(self, api_version: str, plural: str, namespace: str = "") -> str:
        """Return the path of a collection, in the probe's namespace."""
        root = "apis" if "/" in api_version else "api"
        return f"/{root}/{api_version}/namespaces/{namespace or self.namespace}/{plural}"

    def note(self, what: str, found: object) -> None:
        """Keep something seen, in words that are the same for both APIs."""
        assert what not in self.seen, f"{what} is noted already"
        self.seen[what] = self._normal.of(found)

    def ask(self, what: str, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and note its answer: status, head and body.

        A path that does not begin with a slash is that of a sandbox.
        """
        answer = self.send(method, path, **options)
        self.note(what, _read(answer))
        return answer

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request that nothing is noted of."""
        if not path.startswith("/"):
            path = f"{self.sandboxes}/{path}".removesuffix("/")
        if (patch := options.pop("patch", None)) is not None:
            options["content"] = orjson.dumps(patch)
            options["headers"] = {"Content-Type": MERGE} | options.get("headers", {})
        return self.side.client.request(method, path, **options)

    def create(self, name: str, *, metadata: Object | None = None, **spec: Any) -> Object:
        """Create a sandbox that a probe needs, without a note."""
        return said(self.send("POST", "", json=sandbox(name, metadata=metadata, **spec)))

    def change(self, name: str, patch: Object, subresource: str = "") -> Object:
        """Change a sandbox by merge patch, without a note."""
        return said(self.send("PATCH", f"{name}{subresource}", patch=patch))

    @contextmanager
    def watch(self, path: str = "", **params: Any) -> Iterator[Watch]:
        """Watch sandboxes."""
        path = path or self.sandboxes
        params = {"watch": "1", "timeoutSeconds": "20"} | params
        headers = {"Accept": params.pop("accept", JSON)}
        with self.side.client.stream("GET", path, params=params, headers=headers) as answer:
            yield Watch(self, answer, answer.iter_lines())


@dataclass(frozen=True, slots=True)
class Watch:
    """An open watch."""

    probe: Probe
    answer: httpx.Response
    lines: Iterator[str]

    def events(self, what: str, last: Callable[[Object], bool]) -> list[Object]:
        """Note the events up to one; return them."""
        found = []
        for line in self.lines:
            found.append(orjson.loads(line))
            if last(found[-1]):
                break
        self.probe.note(what, {"status": self.answer.status_code, "events": found})
        return found

    def until_named(self, what: str, name: str) -> list[Object]:
        """Note the events up to the first of an object with this name."""
        return self.events(what, lambda event: event["object"]["metadata"].get("name") == name)

    def to_the_end(self, what: str) -> list[Object]:
        """Note the events until the API ends the watch."""
        return self.events(what, lambda _: False)


def sandbox(name: str = "", *, metadata: Object | None = None, **spec: Any) -> Object:
    """Return a sandbox to be written."""
    named = {"name": name} if name else {}
    return {
        "apiVersion": NATIVE,
        "kind": "Sandbox",
        "metadata": named | (metadata or {}),
        "spec": spec,
    }


def said(answer: httpx.Response) -> Object:
    """Return the body of an answer that must be good."""
    assert answer.is_success, answer.text
    found: Object = answer.json()
    return found


def version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])


def eventually(ask: Callable[[], httpx.Response], status: int) -> httpx.Response:
    """Return the first answer with a status."""
    return until(
        lambda: found if (found := ask()).status_code == status else None, f"it answers {status}"
    )


def _read(answer: httpx.Response) -> Object:
    headers = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
    return {"status": answer.status_code, "headers": headers, "body": _body(answer)}


def _body(answer: httpx.Response) -> object:
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return answer.text


#: Every probe, by name; complete once all modules of probes are imported.
PROBES: Final[dict[str, Callable[[Probe], None]]] = {}


def probe(run: Callable[[Probe], None]) -> Callable[[Probe], None]:
    """Make a function a probe; its name is the probe's."""
    name = run.__name__.replace("_", " ")
    assert name not in PROBES, f"there are two probes {name}"
    PROBES[name] = run
    return run
