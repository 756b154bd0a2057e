"""The protocol by which replicas put a sandbox to sleep, explored state by state.

Not the code but the idea, as `gateway.replicas.sleep` tells it: every interleaving of a few
requests, questions, late messages, crashes and new replicas. Time is only an order: a
fence may expire at any time, and a standby that was sent may land at any time after that.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

RUN, SLEEP = True, False


class Phase(Enum):
    """How far a question is: `SENT` is a standby over the version that was read, on its way."""

    ASKING = "asking"
    SENT = "sent"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the protocol does; each may be left out, to see that it is needed."""

    fences: bool = True
    one_question: bool = True
    claims: bool = True
    doubt_stays: bool = True
    news_open: bool = True
    read_in_time: bool = True
    new_ones_wait: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much happens at most."""

    replicas: int = 2
    born_later: int = 0
    questions: int = 2
    requests: int = 2
    deaths: int = 1


@dataclass(frozen=True, slots=True)
class Fence:
    """As in the code; `due`: the word on its question is waited for."""

    question: int
    due: bool = True
    doubted: bool = False
    opens_at: int = 0


@dataclass(frozen=True, slots=True)
class Replica:
    """`before`: the questions under way when it began, of which it was not asked."""

    alive: bool = True
    listed: bool = True
    view: bool = RUN
    version: int = 0
    fence: Fence | None = None
    inflight: bool = False
    waiting: bool = False
    before: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Question:
    """`over`: the version that was read. `late`: somebody does not wait for its word any more."""

    asker: int
    awaited: frozenset[int]
    phase: Phase = Phase.ASKING
    over: int = -1
    late: bool = False


Message = tuple[str, int, int, object]


@dataclass(frozen=True, slots=True)
class World:
    """What is: `run` and `version` are the object's. `unborn`: replicas that are still to come."""

    replicas: tuple[Replica, ...]
    unborn: int
    run: bool = RUN
    version: int = 0
    questions: tuple[Question, ...] = ()
    messages: frozenset[Message] = frozenset()
    requests: int = 0


class Violation(Exception):
    """What must never be."""


Step = tuple[str, World]


def explore(rules: Rules, bounds: Bounds) -> tuple[int, list[str]]:
    """Return how many states there are, and the steps to a violation if there is one."""
    first = World((Replica(),) * bounds.replicas, bounds.born_later)
    came: dict[World, tuple[World, str] | None] = {first: None}
    queue = deque([first])
    while queue:
        world = queue.popleft()
        try:
            for label, after in _steps(world, rules, bounds):
                if after not in came:
                    came[after] = (world, label)
                    queue.append(after)
        except Violation as violation:
            return len(came), [*_path(came, world), str(violation)]
    return len(came), []


def _path(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    labels = []
    while (step := came[world]) is not None:
        world, label = step
        labels.append(label)
    return labels[::-1]


def _put(world: World, number: int, **changes: object) -> World:
    replicas = list(world.replicas)
    replicas[number] = replace(replicas[number], **changes)  # type: ignore[arg-type]
    return replace(world, replicas=tuple(replicas))


def _pose(world: World, number: int, **changes: object) -> World:
    questions = list(world.questions)
    questions[number] = replace(questions[number], **changes)  # type: ignore[arg-type]
    return replace(world, questions=tuple(questions))


def _send(world: World, *messages: Message) -> World:
    return replace(world, messages=world.messages | frozenset(messages))


# ---- what may happen --------------------------------------------------------------------------


def _steps(world: World, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    if world.requests == bounds.requests and not any(
        one.inflight or one.waiting for one in world.replicas
    ):
        return  # nobody is left to be wronged
    for number, one in enumerate(world.replicas):
        if one.alive:
            yield from _serves(world, number, one, rules, bounds)
            yield from _asks(world, number, one, rules, bounds)
    if world.unborn:
        under_way = frozenset(
            number for number, one in enumerate(world.questions) if one.phase is not Phase.OVER
        )
        born = Replica(listed=False, before=under_way)
        yield (
            "a new replica",
            replace(world, replicas=(*world.replicas, born), unborn=world.unborn - 1),
        )
    for number, question in enumerate(world.questions):
        yield from _goes_on(world, number, question, rules)
    for message in world.messages:
        # One that is lost is one that does not arrive in time, and so never.
        yield from _arrives(replace(world, messages=world.messages - {message}), message, rules)


def _serves(
    world: World, number: int, one: Replica, rules: Rules, bounds: Bounds
) -> Iterator[Step]:
    if not one.listed:
        is_over = (world.questions[each].phase is Phase.OVER for each in one.before)
        if not rules.new_ones_wait or all(is_over):
            seen = {"listed": True, "view": world.run, "version": world.version}
            yield f"{number} lists", _put(world, number, **seen)
    elif world.requests < bounds.requests and not one.inflight and not one.waiting:
        yield from _request(replace(world, requests=world.requests + 1), number, one, rules)
    if one.inflight:
        yield f"{number} is done", _put(world, number, inflight=False)
    if one.waiting and one.fence is None:
        yield from _request(_put(world, number, waiting=False), number, one, rules)
    if one.listed and one.version < world.version:
        seen = {"view": world.run, "version": world.version}
        yield f"{number} hears", _opened(_put(world, number, **seen), number, rules)
    yield from _waits(world, number, one, rules)
    if sum(not each.alive for each in world.replicas) < min(bounds.deaths, len(world.replicas) - 1):
        dead = Replica(alive=False, listed=False)
        replicas = (*world.replicas[:number], dead, *world.replicas[number + 1 :])
        yield f"{number} dies", replace(world, replicas=replicas)


def _request(world: World, number: int, one: Replica, rules: Rules) -> Iterator[Step]:
    if one.fence is not None and rules.fences:
        yield f"a request waits at {number}", _put(world, number, waiting=True)
    elif one.view is RUN:
        if world.run is SLEEP and one.version == world.version:
            raise AssertionError("a view is what was")
        if world.run is SLEEP:
            raise Violation("a request is sent to what sleeps")
        yield f"a request at {number}", _put(world, number, inflight=True)
    else:
        version = world.version if world.run is RUN else world.version + 1
        woken = replace(world, run=RUN, version=version)
        seen = {"inflight": True, "view": RUN, "version": version}
        yield f"a request at {number} wakes", _put(woken, number, **seen)


def _waits(world: World, number: int, one: Replica, rules: Rules) -> Iterator[Step]:
    fence = one.fence
    if fence is None:
        return
    if fence.due:
        expired = replace(fence, due=False, doubted=True)
        late = _pose(world, fence.question, late=True)
        yield f"{number} waits no longer", _put(late, number, fence=expired)
    elif one.waiting:
        version = world.version + 1 if world.run is RUN and rules.claims else world.version
        seen = {"fence": None, "view": world.run, "version": version}
        yield f"{number} claims", _put(replace(world, version=version), number, **seen)


def _asks(world: World, number: int, one: Replica, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    if not one.listed or one.view is SLEEP or len(world.questions) >= bounds.questions:
        return
    question = len(world.questions)
    if question == 0 and 0 < number < bounds.replicas:
        return  # they began alike: call the one 0 that asks first
    everyone = frozenset(each for each, other in enumerate(world.replicas) if other.alive)
    posed = replace(world, questions=(*world.questions, Question(number, everyone)))
    posed = _send(posed, *(("ask", question, to, None) for to in everyone - {number}))
    # It answers itself at once.
    asked = _asked(posed, number, question, rules)
    (own,) = asked.messages - posed.messages
    yield from _arrives(replace(asked, messages=asked.messages - {own}), own, rules)


def _goes_on(world: World, number: int, question: Question, rules: Rules) -> Iterator[Step]:
    if question.phase is Phase.OVER:
        return
    if question.phase is Phase.SENT:
        if any(number in one.before for one in world.replicas):  # else nothing comes of that
            yield f"question {number} is lost", _over(world, number)
        if world.version == question.over:
            yield "a standby lands", _landed(world, number, rules)
        else:
            yield (
                f"question {number} conflicts",
                _settled(_over(world, number), number, None, rules),
            )
        return
    yield f"question {number} is given up", _settled(_over(world, number), number, None, rules)
    asking = world.replicas[question.asker].alive and not question.awaited and world.run is RUN
    if asking and not (question.late and rules.read_in_time):
        sent = _pose(world, number, phase=Phase.SENT, over=world.version)
        yield f"question {number} is granted", sent


def _landed(world: World, number: int, rules: Rules) -> World:
    if any(each.inflight for each in world.replicas):
        raise Violation("it is put to sleep while it is used")
    asleep = replace(world, run=SLEEP, version=world.version + 1)
    return _settled(_over(asleep, number), number, asleep.version, rules)


def _over(world: World, number: int) -> World:
    """End a question; nobody reads the answers any more."""
    unread = {one for one in world.messages if one[1] == number and one[0] in ("yes", "no")}
    return replace(
        _pose(world, number, phase=Phase.OVER), messages=world.messages - frozenset(unread)
    )


def _settled(world: World, number: int, version: int | None, rules: Rules) -> World:
    asker = world.questions[number].asker
    others = (to for to, one in enumerate(world.replicas) if one.alive and to != asker)
    told = _send(world, *(("settle", number, to, version) for to in others))
    return _told(told, asker, number, version, rules)


# ---- messages ---------------------------------------------------------------------------------


def _arrives(world: World, message: Message, rules: Rules) -> Iterator[Step]:
    kind, number, to, content = message
    label = f"{kind} {number} at {to}"
    if kind == "yes":
        awaited = world.questions[number].awaited - {to}
        yield label, _pose(world, number, awaited=awaited)
    elif kind == "no":
        yield label, _settled(_over(world, number), number, None, rules)
    elif not world.replicas[to].alive:
        return
    elif kind == "settle":
        yield label, _told(world, to, number, content, rules)
    else:
        yield label, _asked(world, to, number, rules)


def _asked(world: World, number: int, question: int, rules: Rules) -> World:
    one = world.replicas[number]
    fence = one.fence
    stands = fence is not None and fence.due and fence.question != question
    is_late = fence is not None and fence.question == question and not fence.due
    if one.inflight or not one.listed or is_late or (stands and rules.one_question):
        return _answer(world, question, number, "no")
    fence = replace(fence or Fence(question), question=question, due=True)
    return _answer(_put(world, number, fence=fence), question, number, "yes")


def _answer(world: World, question: int, number: int, word: str) -> World:
    is_read = world.questions[question].phase is Phase.ASKING
    return _send(world, (word, question, number, None)) if is_read else world


def _told(world: World, number: int, question: int, version: object, rules: Rules) -> World:
    fence = world.replicas[number].fence
    if fence is None or fence.question != question:
        return world
    if isinstance(version, int):
        told = Fence(question, due=False, opens_at=max(version, fence.opens_at))
    else:
        # What expired in the meantime was this question's; there may be an older doubt.
        told = replace(fence, due=False, doubted=fence.doubted and rules.doubt_stays)
    return _opened(_put(world, number, fence=told), number, rules)


def _opened(world: World, number: int, rules: Rules) -> World:
    one = world.replicas[number]
    fence = one.fence
    if fence is None or fence.due or fence.doubted:
        return world
    if fence.opens_at > one.version and rules.news_open:
        return world
    return _put(world, number, fence=None)
