"""Routes for tests of waking."""

from gateway.sandbox.model import Key, Route, State, WakePolicy


def route(
    state: State,
    version: int = 10,
    *,
    name: str = "box",
    namespace: str = "team",
    uid: str = "uid-1",
    wake: bool = True,
    timeout: float | None = None,
    expires_at: float | None = None,
) -> Route:
    return Route(
        key=Key("native", namespace, name),
        uid=uid,
        id=f"{namespace}--{name}",
        version=version,
        state=state,
        incarnation=f"{uid}/{version}",
        address="10.0.0.1" if state is State.RUNNING else None,
        expires_at=expires_at,
        wake=WakePolicy(wake, timeout),
    )
