"""Pages for people: an error, or a sandbox that is still being woken, as HTML.

The page of a wake that takes its time loads itself again, and each load waits for the sandbox like
any request: the one that finds it running shows it. So a browser that gives up costs nothing, no
script is needed, and an operator's template cannot break it: the reload is a field of the response.
"""

from __future__ import annotations

import html
from string import Template
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.proxy.message import RequestHead
    from gateway.sandbox.errors import GatewayError

#: What a template may name: all of it is the gateway's own text, nothing a client sent.
PLACEHOLDERS: Final = frozenset({"title", "text", "status", "reason", "state"})

#: `$state` in a template: is there something to wait for?
WAITING: Final = "waiting"
FAILED: Final = "failed"

_DEFAULT: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:34em;padding:0 1em}
h1{font-size:1.4em}small{color:#777}i{display:none}
.waiting i{display:block;height:3px;background:linear-gradient(90deg,#0000,#36c,#0000) 0/40% 100%
no-repeat;animation:s 1.6s linear infinite}
@keyframes s{from{background-position:-70% 0}to{background-position:170% 0}}
@media(prefers-reduced-motion){.waiting i{animation:none;background-position:50% 0}}
@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}</style></head>
<body class="$state"><main role="status"><h1>$title</h1><i></i><p>$text</p></main>
<small>$status $reason · sandbox-gateway</small></body></html>
"""


class TemplateInvalid(Exception):
    """A template cannot be filled in; the text says why."""


def parse_template(text: str) -> Template:
    """Return a page's template, whose placeholders are `$name`; raise TemplateInvalid."""
    template = Template(text)
    if not template.is_valid():
        raise TemplateInvalid("a $ that is no placeholder must be written $$")
    unknown = sorted(set(template.get_identifiers()) - PLACEHOLDERS)
    if unknown:
        known = ", ".join(f"${name}" for name in sorted(PLACEHOLDERS))
        raise TemplateInvalid(f"${unknown[0]} is no placeholder; there are {known}")
    return template


DEFAULT: Final = parse_template(_DEFAULT)


def render(template: Template, error: GatewayError) -> bytes:
    """Return the page for an error."""
    return template.substitute(
        title=html.escape(error.title),
        text=html.escape(error.text),
        status=error.status,
        reason=error.reason,
        state=FAILED if error.refresh is None else WAITING,
    ).encode()


def wants_page(head: RequestHead | None) -> bool:
    """Return whether the client is a browser: it prefers text/html (RFC 9110 §12.5.1)."""
    accepted = None if head is None else head.value(b"accept")
    return accepted is not None and accepted.lower().lstrip().startswith(b"text/html")


def is_navigation(head: RequestHead) -> bool:
    """Return whether somebody looks at the answer, so that it may be a page in its place.

    A browser that says what its request is for (Fetch Metadata) is believed: a script that fetches
    HTML must get what it asked for.
    """
    if head.method != b"GET" or head.upgrade is not None or not wants_page(head):
        return False
    return head.value(b"sec-fetch-mode") in (None, b"navigate")
