"""What the gateway must survive: each requirement, where it comes from, what code sees to it.

The tests of a requirement have its number in their names, so that README.md's table is made from
this list and from them. `python -m tests.conformance.index --check` fails where the two do not
agree with that table or with each other; `--write` writes the table.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE: Final = Path(__file__).parent
README: Final = HERE / "README.md"
CODE: Final = HERE.parents[1] / "gateway"

BEGIN: Final = "<!-- requirements:begin -->"
END: Final = "<!-- requirements:end -->"

#: A requirement that no standard makes.
OWN: Final = "own rule"

_NUMBERED: Final = re.compile(r"test_(\d+)_")
_CITES: Final = re.compile(rf"RFC \d+|\({OWN}\)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """`rule`: the sections of the standard, or OWN; `code`: modules and packages of the gateway."""

    text: str
    rule: str
    code: str


@dataclass(frozen=True, slots=True)
class Case:
    """A test that has a requirement's number in its name, and its docstring."""

    number: int
    file: str
    name: str
    meaning: str


REQUIREMENTS: Final[Mapping[int, Requirement]] = {
    1: Requirement(
        "Both kinds of length in one request: 400, nothing upstream",
        "RFC 9112 §6.1",
        "proxy/parser",
    ),
    2: Requirement(
        "A length that is not one plain number: 400", "RFC 9112 §6.3, 9110 §8.6", "proxy/parser"
    ),
    3: Requirement(
        "A transfer coding that is not plain chunked: 400, or 501 for a known one",
        "RFC 9112 §6.1",
        "proxy/legality, proxy/parser",
    ),
    4: Requirement("Chunked in HTTP/1.0: 400", "RFC 9112 §6.1", "proxy/legality"),
    5: Requirement(
        "A broken chunk: 400, and no end for the sandbox",
        "RFC 9112 §7.1",
        "proxy/parser, proxy/body",
    ),
    6: Requirement(
        "Extensions, trailers and tiny chunks without end: bounded",
        "RFC 9112 §7.1.1, §7.1.2",
        "proxy/parser, upstream/response",
    ),
    7: Requirement(
        "Space, folding, bare CR, LF or NUL in a head: 400", "RFC 9112 §2.2, §3, §5", "proxy/parser"
    ),
    8: Requirement(
        "What follows an unread body or a closing answer is no request",
        "RFC 9112 §9.3, §9.6",
        "proxy/client, proxy/handler",
    ),
    9: Requirement(
        "Connection cannot name away framing, Host or credentials",
        "RFC 9110 §7.6.1",
        "proxy/headers",
    ),
    10: Requirement(
        "An illegal response: 502, its connection closed",
        "RFC 9112 §6.3",
        "upstream/response, upstream/connection",
    ),
    11: Requirement(
        "Surplus bytes answer nobody",
        "RFC 9112 §9.2",
        "upstream/response, upstream/connection, upstream/pool",
    ),
    12: Requirement(
        "Leading CRLF, pipelining, any cut of the bytes",
        "RFC 9112 §2.2, §9.3.2",
        "proxy/parser, proxy/client",
    ),
    13: Requirement(
        "Other HTTP versions: 400 or 505", "RFC 9112 §2.3, 9110 §15.6.6", "proxy/legality"
    ),
    14: Requirement("Exactly one valid Host", "RFC 9112 §3.2", "proxy/legality"),
    15: Requirement("Absolute-form only for the Host itself", "RFC 9112 §3.2.2", "proxy/legality"),
    16: Requirement(
        "CONNECT and TRACE: 405; `OPTIONS *` here; no fragments",
        "RFC 9110 §9.3, §15.5.6",
        "proxy/legality, proxy/handler",
    ),
    17: Requirement("Targets arrive byte for byte", "RFC 9110 §7.7", "proxy/parser, proxy/target"),
    18: Requirement(
        "414, 431, 413; nothing grows beyond the limits", "RFC 9110 §15.5, 6585 §5", "proxy/parser"
    ),
    19: Requirement(
        "Errors echo nothing; one bounded log line",
        "RFC 9457, 9209",
        "proxy/answers, proxy/journal",
    ),
    20: Requirement(
        "Hop-by-hop fields end here, both ways",
        "RFC 9110 §7.6.1",
        "proxy/headers, upstream/response",
    ),
    21: Requirement(
        "Via continued; our own is a loop: 508", "RFC 9110 §7.6.3", "proxy/headers, proxy/legality"
    ),
    22: Requirement(
        "Forwarded fields overwritten, or continued for trusted peers", "RFC 7239", "proxy/headers"
    ),
    23: Requirement(
        "Target fields: once, in one spelling, never passed on", OWN, "proxy/target, proxy/parser"
    ),
    24: Requirement(
        "The gateway's credential stays here, a browser's cookie and query token too",
        OWN,
        "auth/authenticator, proxy/login, proxy/cookies, proxy/parser",
    ),
    25: Requirement(
        "Order, repetition, case and bytes of fields kept",
        "RFC 9110 §5",
        "proxy/parser, upstream/response",
    ),
    26: Requirement("Coded bodies untouched, nothing invented", "RFC 9110 §7.7", "proxy/headers"),
    27: Requirement("No 100 before there is a route", "RFC 9110 §10.1.1", "proxy/exchange"),
    28: Requirement("Interim responses at once, to 1.1 only", "RFC 9110 §15.2", "proxy/exchange"),
    29: Requirement(
        "An early answer stops the upload and arrives whole",
        "RFC 9112 §9.5, §9.6",
        "proxy/exchange, proxy/client",
    ),
    30: Requirement(
        "Trailers forwarded, never merged", "RFC 9110 §6.5", "proxy/parser, upstream/response"
    ),
    31: Requirement(
        "Bodyless responses keep step; framing fits the client's version",
        "RFC 9112 §6.3",
        "proxy/exchange, upstream/response",
    ),
    32: Requirement(
        "Upgrades: 101 after the upstream's, early bytes kept, refusals relayed",
        "RFC 9110 §7.8, 6455",
        "proxy/exchange, proxy/client",
    ),
    33: Requirement(
        "h2c removed; an unsolicited 101: 502",
        "RFC 9110 §7.8, §15.2.2",
        "proxy/parser, proxy/exchange",
    ),
    34: Requirement(
        "Tunnels end by idleness, drain (1012) or either side",
        "RFC 6455 §7.4",
        "proxy/exchange, proxy/websocket",
    ),
    35: Requirement("Events arrive one by one", OWN, "proxy/exchange"),
    36: Requirement(
        "A reused connection found dead: GET once more, POST at most once",
        "RFC 9110 §9.2.2, 9112 §9.3.1",
        "proxy/retry, upstream/connection",
    ),
    37: Requirement(
        "What the upstream had is never sent again",
        "RFC 9110 §9.2.2",
        "proxy/retry, upstream/connection",
    ),
    38: Requirement(
        "A refused dial: resolved and dialled again, up to a deadline", OWN, "proxy/reach"
    ),
    39: Requirement(
        "An upstream that dies in mid-body: an abort, never a clean end",
        "RFC 9112 §8",
        "proxy/exchange, proxy/client",
    ),
    40: Requirement(
        "A client that left frees its place within a second: 499", OWN, "proxy/client, wake/waker"
    ),
    41: Requirement(
        "A client that left ends the transfer upstream", OWN, "proxy/exchange, proxy/client"
    ),
    42: Requirement(
        "Stalled readers stall the other side; memory stays bounded",
        OWN,
        "proxy/exchange, proxy/body, proxy/memory",
    ),
    43: Requirement(
        "Slow heads, bodies, readers and silence: cut at their deadlines",
        "RFC 9112 §9.5, 9110 §15.5.9",
        "proxy/client, proxy/exchange",
    ),
    44: Requirement(
        "A thousand requests to one sleeper: one patch, bodies not mixed", OWN, "wake, proxy/reach"
    ),
    45: Requirement(
        "No place to wait: 503 with Retry-After, others unaffected", OWN, "wake/limits"
    ),
    46: Requirement(
        "Never ready: 503 at the deadline, then backed off", OWN, "wake/episode, wake/limits"
    ),
    47: Requirement(
        "A pause under way: waited out and undone, never 502", OWN, "wake/episode, proxy/reach"
    ),
    48: Requirement(
        "A drain loses nothing that was read, and refuses what is new",
        "RFC 9112 §9.6",
        "proxy/plane, proxy/client",
    ),
    49: Requirement(
        "Whatever befalls the watch, the registry converges; routes are kept",
        OWN,
        "cluster/reflector",
    ),
    50: Requirement(
        "An address that changes hands carries nothing over", OWN, "upstream/pool, proxy/reach"
    ),
    51: Requirement(
        "A namesake gets nothing that waited for the old one", OWN, "wake/episode, proxy/reach"
    ),
    52: Requirement(
        "Ports and addresses that are none: refused, no dial",
        OWN,
        "proxy/target, upstream/addresses",
    ),
    53: Requirement("Redirects relayed, no cookie jar", "RFC 9110 §15.4", "proxy/exchange"),
    54: Requirement(
        "Tokens: for another sandbox 403, any fault 401",
        "RFC 9110 §15.5.2, §15.5.4",
        "auth/access, auth/scoped, auth/jwt, proxy/admission",
    ),
    55: Requirement(
        "A credential backend that is down: 503, and what is remembered is bounded",
        OWN,
        "auth/jwks, auth/key_store, auth/remembered",
    ),
    56: Requirement("Nothing of admin on the data port", OWN, "proxy/handler"),
    57: Requirement(
        "A request is one use of its sandbox until its last byte, however it ends",
        OWN,
        "proxy/uses, proxy/journal, sandbox/activity",
    ),
    58: Requirement(
        "A request whose sandbox may be falling asleep waits, and wakes it: never 502",
        OWN,
        "replicas/gate, proxy/reach, proxy/handler",
    ),
    59: Requirement(
        "What does not count keeps nothing awake; tunnels are told when their sandbox sleeps",
        "RFC 6455 §5.5, §7.4",
        "proxy/uses, proxy/websocket, proxy/plane",
    ),
    60: Requirement(
        "A mistake in the gateway costs its own connection, and is logged", OWN, "proxy/client"
    ),
}

#: Tests that hold a requirement without having its number, by file.
ELSEWHERE: Final[Mapping[int, Mapping[str, tuple[str, ...]]]] = {
    42: {
        "../../e2e/test_large_bodies.py": (
            "test_a_gibibyte_each_way_at_once_costs_less_than_a_mebibyte_a_connection",
        )
    },
    43: {
        "../../e2e/test_slow_clients.py": (
            "test_ten_thousand_slow_clients_are_cut_and_cost_nobody_else_anything",
        )
    },
    48: {
        "../../e2e/test_failures.py": (
            "test_requests_that_wait_at_sigterm_are_answered_before_it_exits",
        )
    },
    49: {
        "../cluster/test_reflector.py": (
            "test_an_expired_version_is_followed_by_a_list_that_sees_deletions",
            "test_a_silent_watch_is_replaced_by_one_from_the_same_version",
            "test_a_broken_watch_is_resumed_without_a_list",
            "test_a_restarted_api_server_is_found_again_and_routes_are_kept_meanwhile",
            "test_without_contact_for_long_it_is_stale_until_contact",
        )
    },
    52: {
        "../upstream/test_addresses.py": (
            "test_the_hosts_own_addresses_are_denied_and_loopback_is_left_to_the_rule",
            "test_an_ipv4_address_in_ipv6_clothes_never_may",
        )
    },
    56: {"../admin/test_server.py": ("test_with_a_token_only_its_holder_gets_in",)},
}


def cases() -> list[Case]:
    """Return every numbered test of this directory, in order."""
    return [
        Case(int(numbered[1]), path.name, name, meaning)
        for path in sorted(HERE.glob("test_*.py"))
        for name, meaning in _defined(path).items()
        if (numbered := _NUMBERED.match(name))
    ]


def _defined(path: Path) -> dict[str, str]:
    """Return the functions of a module and their docstrings."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {one.name: ast.get_docstring(one) or "" for one in body if isinstance(one, functions)}


def faults(
    requirements: Mapping[int, Requirement],
    tests: Sequence[Case],
    elsewhere: Mapping[int, Mapping[str, tuple[str, ...]]],
) -> list[str]:
    """Return what is wrong, one sentence each."""
    found = []
    for number, one in requirements.items():
        if not any(case.number == number for case in tests):
            found.append(f"requirement {number} has no test")
        found += [f"requirement {number}: there is no {name}" for name in _absent(one.code)]
    for case in tests:
        row = requirements.get(case.number)
        wrong = f"there is no requirement {case.number}" if row is None else _fault(row, case)
        if wrong is not None:
            found.append(f"{case.file}::{case.name}: {wrong}")
    for number, files in elsewhere.items():
        for file, names in files.items():
            gone = sorted(set(names) - _defined(HERE / file).keys())
            found += [f"requirement {number}: there is no {file}::{name}" for name in gone]
    return found


def _fault(requirement: Requirement, case: Case) -> str | None:
    if not case.meaning:
        return "a docstring says what the test is about"
    if requirement.rule != OWN and not _CITES.search(case.meaning):
        return f'its docstring cites "RFC ... §..." or says "({OWN})"'
    return None


def _absent(code: str) -> list[str]:
    return [
        f"gateway/{name}"
        for name in code.split(", ")
        if not ((CODE / f"{name}.py").is_file() or (CODE / name / "__init__.py").is_file())
    ]


def as_markdown() -> str:
    """Return the table."""
    tests = cases()
    rows = ["| | requirement | rests on | code | tests |", "| --- | --- | --- | --- | --- |"]
    for number, one in REQUIREMENTS.items():
        names = [(case.file, case.name) for case in tests if case.number == number]
        for file, others in ELSEWHERE.get(number, {}).items():
            names += [(file, name) for name in others]
        listed = "<br>".join(f"`{file}::{name}`" for file, name in names)
        rows.append(f"| {number} | {one.text} | {one.rule} | {one.code} | {listed or '—'} |")
    return "\n".join(rows)


def inserted(document: str) -> str:
    """Return the document with the table between its markers."""
    before, _, rest = document.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{as_markdown()}\n{END}{after}"


def main(arguments: list[str], readme: Path = README) -> int:
    """Check or write the table; return the exit status."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m tests.conformance.index --check|--write", file=sys.stderr)
        return 2
    found = faults(REQUIREMENTS, cases(), ELSEWHERE)
    document = readme.read_text(encoding="utf-8")
    current = inserted(document)
    if arguments == ["--write"]:
        readme.write_text(current, encoding="utf-8")
    elif current != document:
        found.append(f"{readme.name} is not current: make docs")
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
