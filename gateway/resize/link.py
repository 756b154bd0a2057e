"""One agent's conversation with one informant, from its registration to its end.

Each link is an agent of its own, with an id that nobody else can know: an informant that restarts,
or slips, is met by a new one. All that an agent says is numbered. Its answers and its requests go
by different connections, so that one could overtake the other: while a request is under way no
answer is given.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

from gateway.meanwhile import meanwhile
from gateway.resize.informant_client import Ask, Improper, InformantClient, LinkFailed
from gateway.resize.link_state import (
    SPOKEN,
    EndReason,
    LinkEnd,
    Mode,
    Standing,
    hear,
    not_registered,
    over,
    register,
)
from gateway.resize.messages import (
    AgentDesc,
    AgentIdentification,
    DownscaleResult,
    HealthCheck,
    IdentificationMessage,
    InformantDesc,
    Message,
    MoreResourcesRequest,
    ResourceMessage,
    ResumeAgent,
    SizeMessage,
    SuspendAgent,
    Unreadable,
    UnregisterAgent,
    decode,
)
from gateway.resize.scrape import parse_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.resize.link_state import LinkEvent, Said
    from gateway.resize.messages import MessageT
    from gateway.resize.scrape import Scraped
    from gateway.sandbox.scaling import Size

_LOG = logging.getLogger(__name__)

#: Seconds between two questions whether an informant is well, and of silence until it is not.
HEALTH_EVERY: Final = 5.0
SILENCE: Final = 20.0
#: Seconds for which a call waits for the answer to the registration, which it has overtaken. Less
#: than an informant waits for the call.
SETTLING: Final = 1.5


class Call(Enum):
    """What an informant may ask of its agent, by the last part of the path."""

    ID = "id"
    SUSPEND = "suspend"
    RESUME = "resume"
    TRY_UPSCALE = "try-upscale"

    @property
    def method(self) -> str:
        """The method that goes with it."""
        return "GET" if self is Call.ID else "POST"

    def read(self, body: bytes) -> Said:
        """Return what is said by it; raise Unreadable."""
        match self:
            case Call.ID:
                return None
            case Call.SUSPEND:
                return decode(body, SuspendAgent)
            case Call.RESUME:
                return decode(body, ResumeAgent)
            case Call.TRY_UPSCALE:
                return decode(body, MoreResourcesRequest)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a call; it has a body if all is well."""

    status: int
    body: bytes = b""


class Served(Protocol):
    """What answers informants' calls."""

    def add(self, link: Link) -> None:
        """Have an agent answer from now on."""

    def remove(self, link: Link) -> None:
        """Have it answer no more."""

    def address_towards(self, host: str) -> str:
        """Return where agents are called from there, as `host:port`.

        Raise OSError if there is no way from there, ValueError if that is no address.
        """


class Link:
    """One agent, as one informant knows it. It runs once."""

    def __init__(
        self,
        informant: tuple[str, int],
        served: Served,
        on_event: Callable[[LinkEvent], None],
        *,
        may_call: bool = True,
    ) -> None:
        """`informant`: its address and port. `served` by: where informants find their agents.

        `may_call` False: its address is none that a sandbox may have.
        """
        self.id = uuid4()
        self._may_call = may_call
        self._host = informant[0]
        self._client = InformantClient(*informant)
        self._served = served
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._standing = Standing()
        self._settled = asyncio.Event()
        self._over: asyncio.Future[LinkEnd] = self._loop.create_future()
        self._speaking = asyncio.Lock()
        self._number = 0
        self._heard_at = 0.0  # anything that it answered
        self._known_at = 0.0  # what only an informant says that knows this agent
        self._introduced: AgentDesc | None = None
        self._has_complained = False

    @property
    def mode(self) -> Mode:
        """Where the link is."""
        return self._standing.mode

    async def run(self) -> LinkEnd:
        """Register, and keep in touch; return why that is over, which the informant is told."""
        self._served.add(self)
        try:
            async with meanwhile(self._keep()):
                return await self._over
        finally:
            self._standing = over(self._standing)
            self._served.remove(self)
            await self._leave()

    async def downscale(self, size: Size) -> DownscaleResult:
        """Ask whether the guest can do with so much; raise LinkFailed."""
        return await self._say(Ask.DOWNSCALE, size, DownscaleResult)

    async def upscale(self, size: Size) -> None:
        """Tell the guest that it has so much; raise LinkFailed."""
        await self._say(Ask.UPSCALE, size, Message)

    async def metrics(self) -> Scraped:
        """Return what the informant reports now; raise LinkFailed or BadMetrics."""
        if self._standing.metrics_port is None:
            raise LinkFailed("the informant has not taken this agent yet")
        try:
            text = await self._client.metrics(self._standing.metrics_port)
        except LinkFailed as error:
            self._end_if_improper(error)
            raise
        self._heard_at = self._loop.time()
        return parse_metrics(text)

    async def answer(self, call: Call, body: bytes) -> Reply:
        """Take what the informant says."""
        try:
            said = call.read(body)
        except Unreadable:
            return Reply(400)
        if call is not Call.ID:
            await self._settle()
        async with self._speaking:
            heard = hear(self._standing, said, self.id)
            self._standing = heard.standing
            if heard.end is not None:
                self._end(heard.end)
            if heard.event is not None:
                self._on_event(heard.event)
            if heard.status != 200:
                return Reply(heard.status)
            self._known_at = self._loop.time()
            if call is Call.TRY_UPSCALE and heard.event is None:
                self._complain()
            answer = IdentificationMessage(data=self._identification, sequence_number=self._next())
            return Reply(200, answer.encode())

    # ---- keeping in touch ---------------------------------------------------------------------

    async def _keep(self) -> None:
        try:
            await self._register()
        finally:
            self._settled.set()
        while self.mode is not Mode.ENDED:
            await asyncio.sleep(HEALTH_EVERY)
            await self._check_health()

    async def _register(self) -> None:
        if not self._may_call:
            why = "its pod's address is none that the gateway may call"
            self._end(LinkEnd(EndReason.FORBIDDEN, why))
            return
        try:
            self._introduced = self._introduction()
            informant = await self._client.ask(Ask.REGISTER, self._introduced, InformantDesc)
        except LinkFailed as error:
            self._end(not_registered(self._standing, error.status, str(error)))
            return
        except (OSError, ValueError) as error:
            self._end(not_registered(self._standing, None, f"no way there: {error}"))
            return
        self._heard_at = self._known_at = self._loop.time()
        self._standing, end = register(self._standing, informant)
        if end is not None:
            self._end(end)

    def _introduction(self) -> AgentDesc:
        return AgentDesc(
            agent_id=self.id,
            serve_addr=f"{self._served.address_towards(self._host)}/agents/{self.id}",
            min_proto_version=SPOKEN.min,
            max_proto_version=SPOKEN.max,
        )

    async def _check_health(self) -> None:
        """Ask whether it is well, unless it has just answered and has shown that it knows us.

        Metrics that are told do for the one, a call for our id for the other: mostly both come.
        """
        if self._loop.time() - min(self._heard_at, self._known_at) >= HEALTH_EVERY:
            with suppress(LinkFailed):
                await self._ask(Ask.HEALTH_CHECK, self._identification, HealthCheck)
        silence = self._loop.time() - self._heard_at
        if silence >= SILENCE:
            why = f"the informant has not answered for {silence:.0f} s"
            self._end(LinkEnd(EndReason.SILENT, why))

    async def _leave(self) -> None:
        """Have the informant listen to another agent at once, if there is one."""
        if self._introduced is not None:
            with suppress(LinkFailed):
                await self._client.ask(Ask.UNREGISTER, self._introduced, UnregisterAgent)

    # ---- speaking -----------------------------------------------------------------------------

    @property
    def _identification(self) -> AgentIdentification:
        return AgentIdentification(agent_id=self.id)

    async def _say(self, what: Ask, size: Size, kind: type[MessageT]) -> MessageT:
        async with self._speaking:
            if self.mode is not Mode.RUNNING:
                raise LinkFailed("the informant does not listen to this agent")
            told = ResourceMessage(cpu=size.cpu, memory=size.memory, id=self._identification)
            return await self._ask(what, SizeMessage(data=told, sequence_number=self._next()), kind)

    async def _ask(self, what: Ask, message: Message, kind: type[MessageT]) -> MessageT:
        try:
            answer = await self._client.ask(what, message, kind)
        except LinkFailed as error:
            self._end_if_improper(error)
            if error.status == 404:
                self._end(LinkEnd(EndReason.FORGOTTEN, "the informant does not know the agent"))
            raise
        self._heard_at = self._known_at = self._loop.time()
        return answer

    def _end_if_improper(self, error: LinkFailed) -> None:
        """Leave a guest alone whose answers are work without end: each might be."""
        if isinstance(error, Improper):
            self._end(LinkEnd(EndReason.IMPROPER, str(error)))

    def _next(self) -> int:
        self._number += 1
        return self._number

    # ---- hearing ------------------------------------------------------------------------------

    async def _settle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLING):
                await self._settled.wait()

    def _end(self, end: LinkEnd) -> None:
        self._standing = over(self._standing)
        if not self._over.done():
            self._over.set_result(end)

    def _complain(self) -> None:
        """Log a request for nothing: once, for a guest may make any number of them."""
        if not self._has_complained:
            self._has_complained = True
            _LOG.warning("an informant asks for more of nothing", extra={"informant": self._host})
