"""Where an agent is called."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.agents.informant.caller import agent_url
from gateway.agents.informant.errors import Refused


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.0.0.1:8081/agents/a", ("10.0.0.1", 8081, "/agents/a/id")),
        ("10.0.0.1:8081/agents/a/", ("10.0.0.1", 8081, "/agents/a/id")),
        ("gateway-0.sandboxes.svc:80", ("gateway-0.sandboxes.svc", 80, "/id")),
        ("[fd00::1]:8081/a%2Fb/c", ("fd00::1", 8081, "/a%2Fb/c/id")),
    ],
)
def test_a_path_is_below_the_address(address: str, place: tuple[str, int, str]) -> None:
    url = agent_url(address, "/id")
    assert (url.host, url.port, url.raw_path) == place


@given(st.text() | st.from_regex(r"[a-z.\\[\\]:0-9]{1,20}:[0-9]{1,6}(/[ -~]*)?"))
@example("[:::::]:80")
@example("..:80")
def test_any_text_is_an_address_or_is_refused(address: str) -> None:
    try:
        url = agent_url(address)
    except Refused:
        return
    assert url.scheme == "http"
    assert url.user is None
    assert url.query_string == ""
    assert url.raw_fragment == ""
    assert url.host
    assert url.port
