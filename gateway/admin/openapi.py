"""The admin API's description for its callers: OpenAPI 3.1, made of the operations themselves."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway import __version__
from gateway.admin.parts import About, Answer, Guard, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.admin.parts import Schema

PATH: Final = "/api/v1/openapi.json"

_PARAMETER = re.compile(r"\{(\w+)\}")

_TEXT: Final = """\
What operators, their tools and the sandboxes themselves may ask of a gateway.

Any replica may be asked: what is changed is written on the sandbox's Kubernetes object, so it binds
all replicas and outlives them. What is shown is what the replica asked knows."""

_ADMIN: Final = "admin"
_SANDBOX: Final[Mapping[str, Schema]] = {
    "sandboxAccessToken": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Access-Token",
        "description": "The sandbox's own token, where auth_mode is access-token.",
    },
    "sandboxToken": {
        "type": "apiKey",
        "in": "header",
        "name": "E2b-Traffic-Access-Token",
        "description": "A scoped token or a JWT for the sandbox, where auth_mode says so.",
    },
}
_SECURITY: Final[Schema] = {
    _ADMIN: {
        "type": "http",
        "scheme": "bearer",
        "description": "The admin token. Where none is configured, clients on the gateway's own "
        "machine need nothing, and others get nothing.",
    },
    **_SANDBOX,
}
_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "reason"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, for people."},
        "reason": {
            "type": "string",
            "description": "The same for programs: one word, which stays.",
        },
    },
}
_REFUSED: Final[Mapping[int, str]] = {
    401: "No credential, or a bad one.",
    403: "The credential is good, but not for this.",
}


_ABOUT: Final = About(
    id="describeApi",
    summary="This description",
    text="Tells what may be asked here, as OpenAPI 3.1. Generate a client of it, or give it to a "
    "program that is to find its own way.",
    answers={200: Answer("The description.", {"type": "object"})},
)


def described(operations: Sequence[Operation]) -> Operation:
    """Return the operation that tells what all these do, and itself."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    itself = Operation("GET", PATH, show, Guard.OPEN, _ABOUT)
    body = json.dumps(_document([*operations, itself])).encode()
    return itself


def _document(operations: Sequence[Operation]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        if one.about is not None:
            paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, one.about)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sandbox-gateway admin API",
            "version": __version__,
            "description": _TEXT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {"Problem": _PROBLEM}, "securitySchemes": _SECURITY},
    }


def _operation(one: Operation, about: About) -> dict[str, Any]:
    problems = {**about.problems, **({} if one.guard is Guard.OPEN else _REFUSED)}
    answers = {str(status): _answer(answer) for status, answer in about.answers.items()}
    told: dict[str, Any] = {
        "operationId": about.id,
        "summary": about.summary,
        "description": about.text,
        "security": _security(one, about),
        "parameters": [*_in_path(one.path), *_in_query(about.query)],
        "responses": answers | {str(code): _problem(why) for code, why in sorted(problems.items())},
    }
    if about.body is not None:
        content = {"application/json": {"schema": about.body}}
        told["requestBody"] = {"required": True, "content": content}
    return told


def _security(one: Operation, about: About) -> list[dict[str, list[str]]]:
    if one.guard is Guard.OPEN:
        return []
    names = [_ADMIN, *(_SANDBOX if about.by_sandbox else ())]
    return [{name: []} for name in names]


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _in_query(query: Mapping[str, Schema]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "query",
            "description": schema["description"],
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in query.items()
    ]


def _answer(answer: Answer) -> dict[str, Any]:
    if answer.schema is None and answer.media_type is None:
        return {"description": answer.meaning}
    content = {} if answer.schema is None else {"schema": answer.schema}
    return {"description": answer.meaning, "content": {answer.media_type: content}}


def _problem(why: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": why, "content": {"application/problem+json": {"schema": schema}}}
