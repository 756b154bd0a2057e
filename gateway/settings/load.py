"""Putting the sources together: the environment wins over the file, an option over both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from gateway.settings.checks import conflicts
from gateway.settings.choices import AuthMode
from gateway.settings.kinds import Refused
from gateway.settings.model import Settings, kind_of
from gateway.settings.secrets import unreadable_files
from gateway.settings.sources import (
    CONFIG_VARIABLE,
    Culprit,
    Entry,
    SettingsError,
    Source,
    from_environment,
    from_file,
    variable,
)
from gateway.settings.tls import tls_conflicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHOOSE_AUTH: Final = (
    "is not set, and it has no default, since it decides who may reach and wake sandboxes. "
    "Choose access-token (each request carries its sandbox's own token), scoped-token (each "
    "carries a token for one sandbox, signed by a shared secret), jwt (signed by your identity "
    "provider) or none (everyone who can reach the port; only "
    "behind something that authenticates)"
)


def load(
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    options: Iterable[Entry] = (),
    defaults: Iterable[Entry] = (),
) -> Settings:
    """Return the settings, or raise SettingsError with everything that is wrong.

    `file` comes before the file that the environment names. `options` win over all sources,
    `defaults` lose to all.
    """
    named = environ.get(CONFIG_VARIABLE)
    path = file or (Path(named) if named else None)
    sources = [
        Source(tuple(defaults)),
        from_file(path) if path else Source(),
        from_environment(environ),
        Source(tuple(options)),
    ]
    entries = {entry.name: entry for source in sources for entry in source.entries}
    culprits = [culprit for source in sources for culprit in source.culprits]
    settings, refused = _validated(entries)
    if culprits or refused or settings is None:
        raise SettingsError((*culprits, *refused))
    return settings


def _validated(entries: Mapping[str, Entry]) -> tuple[Settings | None, list[Culprit]]:
    """Validate the values; where some are bad, the good ones are still judged together."""
    bad: dict[str, Culprit] = {}
    try:
        settings = Settings.model_validate({name: one.value for name, one in entries.items()})
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False):
            name = str(one["loc"][0])
            bad[name] = _culprit(name, entries.get(name), one.get("ctx", {}).get("error"))
        settings = Settings.model_validate(_stand_ins(entries, bad))
    return settings, [*bad.values(), *_judged_together(settings, entries, bad)]


def _stand_ins(entries: Mapping[str, Entry], bad: Mapping[str, Culprit]) -> dict[str, object]:
    good = {name: one.value for name, one in entries.items() if name not in bad}
    return {"auth_mode": AuthMode.NONE.value} | good


def _culprit(name: str, entry: Entry | None, error: object) -> Culprit:
    if entry is None:
        return Culprit(f"{name} ({variable(name)})", CHOOSE_AUTH)
    kind = kind_of(name)
    got = "" if kind.hidden else f"got {_quoted(entry.value)}, "
    hint = f" ({error})" if isinstance(error, Refused) and str(error) else ""
    return Culprit(entry.source, f"{got}wanted {kind.accepts}{hint}")


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _judged_together(
    settings: Settings, entries: Mapping[str, Entry], bad: Mapping[str, Culprit]
) -> list[Culprit]:
    """Find what no single value shows; what involves a bad value is not judged."""
    found = []
    judged = (*conflicts(settings), *unreadable_files(settings), *tls_conflicts(settings))
    for conflict in judged:
        if bad.keys() & set(conflict.names):
            continue
        written = [entries[name].source for name in conflict.names if name in entries]
        place = ", ".join(written) or ", ".join(conflict.names)
        found.append(Culprit(place, conflict.message))
    return found
