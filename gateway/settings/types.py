"""The types of settings: each names the kind of value that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from gateway.settings import kinds
from gateway.settings.amounts import cpu
from gateway.settings.choices import AuthMode, DialectName, LogFormat, LogLevel, TargetScheme
from gateway.settings.kinds import HostTarget, ListenAddress, Network
from gateway.settings.tracing import collector, share

Duration = Annotated[float, kinds.duration()]
DurationOrZero = Annotated[float, kinds.duration(zero=True)]
Size = Annotated[int, kinds.size()]
Cpu = Annotated[int, cpu()]
SizeOrZero = Annotated[int, kinds.size(zero=True)]
Count = Annotated[int, kinds.integer(1, 10_000_000)]
CountOrZero = Annotated[int, kinds.integer(0, 10_000_000)]
Rate = Annotated[float, kinds.rate()]
Port = Annotated[int, kinds.integer(1, 65535)]
Switch = Annotated[bool, kinds.switch()]
Listen = Annotated[ListenAddress, kinds.listen_address()]
Networks = Annotated[tuple[Network, ...], kinds.many(kinds.network())]
# RFC 9110 §5.6.2: a field name is a token.
Header = Annotated[str, kinds.matching(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "a header field name")]
_METHOD = kinds.matching(r"[A-Z][A-Z-]*", "a method in upper case, such as HEAD")
Methods = Annotated[tuple[str, ...], kinds.many(_METHOD)]
_PATH = kinds.matching(r"/[!-~]*", "a path that begins with a slash")
Paths = Annotated[tuple[str, ...], kinds.many(_PATH)]
_PHRASE = kinds.matching(r"[ -~]+", "a part of a User-Agent, such as kube-probe/")
Phrases = Annotated[tuple[str, ...], kinds.many(_PHRASE)]
_SUFFIX = kinds.matching(kinds.HOSTNAME, "a DNS name such as sandboxes.example.com", lower=True)
Suffixes = Annotated[tuple[str, ...], kinds.many(_SUFFIX)]
Hosts = Annotated[dict[str, HostTarget], kinds.host_map()]
Namespace = Annotated[str, kinds.matching(kinds.LABEL, "a namespace's name")]
OptionalNamespace = Annotated[
    str | None, kinds.optional(kinds.matching(kinds.LABEL, "a namespace's name"))
]
_NAMESPACE = kinds.matching(kinds.LABEL, "a namespace's name")
Namespaces = Annotated[tuple[str, ...], kinds.many(_NAMESPACE)]
Prefix = Annotated[str, kinds.matching(r"(/[A-Za-z0-9._~-]+)+", "a path such as /kruise")]
Text = Annotated[str, kinds.matching(r"[ -~]*", "plain text")]
OptionalText = Annotated[str | None, kinds.optional(kinds.matching(r"[!-~ ]+", "plain text"))]
_FILE = kinds.file_path()
# Hidden: whoever writes the secret itself where its file belongs must not read it in a log.
_SECRET_FILE = kinds.file_path(hidden=True)
File = Annotated[Path | None, kinds.optional(_FILE)]
Place = Annotated[str | None, kinds.optional(kinds.url_or_file())]
Parameter = Annotated[str, kinds.matching(r"[A-Za-z0-9_.~-]+", "the name of a query parameter")]
SecretFile = Annotated[Path | None, kinds.optional(_SECRET_FILE)]
Schemes = Annotated[tuple[TargetScheme, ...], kinds.many(kinds.choice(TargetScheme), at_least=1)]
Dialects = Annotated[tuple[DialectName, ...], kinds.many(kinds.choice(DialectName), at_least=1)]
Auth = Annotated[AuthMode, kinds.choice(AuthMode)]
Level = Annotated[LogLevel, kinds.choice(LogLevel)]
Format = Annotated[LogFormat, kinds.choice(LogFormat)]
Collector = Annotated[str | None, kinds.optional(collector())]
Share = Annotated[float, share()]
