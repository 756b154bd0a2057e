"""How the interpreter's build is named."""

from __future__ import annotations

import pytest

from e2e.bench.machine import build


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "no PGO, no LTO"),
        ({"CONFIG_ARGS": "'--enable-optimizations' '--with-lto'"}, "PGO, LTO"),
        ({"PY_CORE_CFLAGS": "-O3 -fprofile-use"}, "PGO, no LTO"),
        ({"PY_LDFLAGS_NODIST": "-flto=thin"}, "no PGO, LTO"),
    ],
)
def test_pgo_and_lto_show_in_the_flags(flags: dict[str, str], told: str) -> None:
    assert build(flags, debian=False) == told


def test_of_debians_build_nothing_is_claimed() -> None:
    assert build({}, debian=True) == "as Debian builds it, PGO and LTO not told"
