"""Files that settings name: whether they can be used, said before anything starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.auth.key_files import SecretError, read_secret, read_token_keys
from gateway.proxy.pages import TemplateInvalid, parse_template
from gateway.settings.checks import Conflict
from gateway.settings.kinds import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from string import Template

    from gateway.settings.model import Settings


def read_page_template(path: Path) -> Template:
    """Return the template of the pages for browsers; raise SecretError."""
    try:
        return parse_template(read_secret(path))
    except TemplateInvalid as error:
        raise SecretError(str(error)) from error


def unreadable_files(settings: Settings) -> Iterator[Conflict]:
    """Find the files that are named but cannot be used."""
    readers = {
        "admin_token_file": read_secret,
        "observer_token_file": read_secret,
        "scoped_token_keys_file": read_token_keys,
        "page_template_file": read_page_template,
    }
    for name, read in readers.items():
        path = getattr(settings, name)
        if path is None:
            continue
        try:
            read(path)
        except SecretError as error:
            yield Conflict((name,), str(error))
    keys = settings.jwt_jwks
    if keys is not None and not is_url(keys) and not os.path.isfile(keys):
        yield Conflict(("jwt_jwks",), f"there is no such file: {keys}; a URL begins with https://")
    if settings.kubeconfig is not None and not os.path.isfile(settings.kubeconfig):
        yield Conflict(("kubeconfig",), f"there is no such file: {settings.kubeconfig}")
