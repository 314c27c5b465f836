"""A connection's beginning and end: who may open a socket, and what is tidied up when it has gone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from channels.exceptions import AcceptConnection, DenyConnection, StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404

from . import hooks, journal, limits, subprotocols
from .auth import NOBODY, Identity, describe_user
from .authenticators import Authenticator, JWTAuthenticator, SessionAuthenticator, identify
from .census import Arrival, Place, census_of
from .codes import CloseCode
from .connection import Connection, State
from .counters import add
from .errors import Forbidden, NotFound, RealtimeError, Refused, Unauthenticated, Unavailable
from .groups import EVERYONE, user_group
from .handshake import Handshake
from .hooks import ConnectionContext, Hook
from .hub import Hub
from .layers import CONNECTION
from .middleware import Chain
from .refusal import refuse
from .send_chain import ChainTransport
from .transports import AsgiTransport
from .verification import verifier_of

# Close codes of clients that did not mean to leave.
LOST = frozenset({CloseCode.ABNORMAL, CloseCode.HEARTBEAT_MISSED, CloseCode.SLOW_CONSUMER})

_CLIENT_ID = re.compile(r"[0-9a-f]{32}")


class LifecycleConsumer(AsyncJsonWebsocketConsumer):
    """Steps 1 to 3 and 5 of a consumer's life (`RealtimeConsumer` tells them all)."""

    auth: ClassVar[Literal["required", "optional", "none"]] = "optional"
    middleware: ClassVar[Sequence[Any]] = ()
    max_message_bytes: ClassVar[int | None] = None  # None: the setting in force
    reads_pieces: ClassVar[bool] = False  # whether larger messages than a frame come by ``receive_piece``
    application_pings: ClassVar[bool] = False  # whether clients answer ``ping`` envelopes of the server's
    compression_window: ClassVar[int | None] = None  # see ``Config``; None: the setting in force
    subprotocols: ClassVar[Sequence[str]] = ()  # the first of them that the client offers is chosen
    subprotocol_required: ClassVar[bool] = False  # refuse clients that offer none of them
    # Asked in this order; the first that finds credentials decides: a token goes before a session.
    authenticators: ClassVar[Sequence[Authenticator | type[Authenticator]]] = (
        JWTAuthenticator(),
        SessionAuthenticator(),
    )

    subprotocol: str | None = None  # the chosen one
    identity: Identity = NOBODY
    claims: dict[str, Any] | None = None  # of the user's token

    chain: Chain
    _entered = _was_open = False
    connection: Connection
    hub: Hub
    counted_in: tuple[str, ...] | None = None  # names of its places, once it was counted

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.auth not in ("required", "optional", "none"):
            raise TypeError(f'{cls.__name__}.auth is "required", "optional" or "none", not {cls.auth!r}')
        cls.authenticators = tuple(one() if isinstance(one, type) else one for one in cls.authenticators)

    # --- 1, 2: the handshake ----------------------------------------------------------------------

    async def admit(self) -> None:
        """Look at the request in ``self.scope``: where it comes from, and who it is. Raises Refused."""
        self.handshake = Handshake.of(self.scope)
        limits.check_connect_rate(self.hub, self.handshake.address)
        if self.scope["type"] == "websocket" or self.handshake.origins:
            # Browsers name no origin on a GET to their own site, and no other site can read the answer.
            self.handshake.check_origin()
        if self.hub.draining:
            raise Unavailable("The server is restarting.", code="draining", retry_after=1)
        self.handshake.began = self.hub.loop.time()
        self.take_identity(await identify(self))
        asks = self.scope["type"] == "http"  # and can't offer any
        offered = self.scope.get("subprotocols") or ()
        required = self.subprotocol_required and not asks
        self.subprotocol = subprotocols.choose(self.subprotocols, offered, required)
        if self.requires_user() and not self.user.is_authenticated:
            raise Unauthenticated()

    def requires_user(self) -> bool:
        """Whether anonymous connections are refused."""
        return self.auth == "required"

    async def authorize(self) -> None:
        """Raise a Refused (Forbidden, NotFound, ...) to say no. ``self.user`` and ``self.url`` are there."""

    @property
    def url(self) -> dict[str, Any]:
        """The path's variables."""
        found: dict[str, Any] = self.scope.get("url_route", {}).get("kwargs", {})
        return found

    def initial_groups(self) -> list[str]:
        """Groups that the connection is a member of from its first moment."""
        groups = [EVERYONE, *(self.groups or ())]
        described = describe_user(self.user)
        if described is not None:
            groups.append(user_group(str(described["id"])))
        return groups

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        try:
            await self.admit()
            await self.establish()
        except Refused as refusal:
            await self._refuse(refusal)
        except RealtimeError as error:
            await self._refuse(Refused.of(error))
        if self.connection.state is State.OPEN:
            await self.connected()
            await self._run_hooks(Hook.CONNECTED)
            if self.previous is not None:
                await self._run_hooks(Hook.RETURNED)

    @property
    def previous(self) -> str | None:
        """The id that this client had the last time, where it names one (``?previous=``): its own word."""
        told = self.handshake.query.get("previous")
        return told if told is not None and _CLIENT_ID.fullmatch(told) else None

    async def _run_hooks(self, point: Hook, code: int | None = None) -> None:
        if hooks.has(point):
            await hooks.tell(point, self._context(code), *type(self).__mro__)

    def _context(self, code: int | None = None) -> ConnectionContext:
        return ConnectionContext(consumer=self, code=code, previous=self.previous)

    async def establish(self) -> None:
        """``authorize``, then open the socket: what middleware's ``connect`` is around. Raises RealtimeError.

        For a plain GET, which only asks, it ends before anything is opened or counted.
        """
        if self.chain.connect is None:
            await self._establish()
        else:
            await self.chain.connect(self, self._establish)
            if not self._entered:
                raise Forbidden()  # a middleware did not let it through

    async def _establish(self) -> None:
        self._entered = True
        try:
            await self.authorize()
        except (ObjectDoesNotExist, Http404):
            raise NotFound() from None
        except PermissionDenied:
            raise Forbidden() from None
        if hooks.has(Hook.BEFORE_CONNECT):
            await hooks.run(Hook.BEFORE_CONNECT, self._context(), *type(self).__mro__)
        limits.check_worker(self.hub)
        arrival = limits.arrival(self.handshake.address)
        if self.scope["type"] == "http":
            await census_of(self.hub).check(self.places(), arrival)
            return
        self._register()
        self.counted(await self.count_in(self.places(), arrival))
        for group in self.initial_groups():
            await self.hub.join(group, self.connection)
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection:
            raise Refused() from None

    async def accept(self, subprotocol: str | None = None, headers: Any = None) -> None:
        verifier_of(self.hub).admitted(self.connection, self.handshake.began)
        if self.connection.close_code == CloseCode.CREDENTIALS_ENDED:
            raise Unauthenticated("Your credentials have ended meanwhile.")
        if self.connection.close_code is not None:
            raise Forbidden("Access was withdrawn meanwhile.")
        self.subprotocol = subprotocols.accepted(subprotocol, self.subprotocol)
        await super().accept(self.subprotocol, headers)
        self.hub.counters.accepted += 1
        self._was_open = True
        self.connection.opened()
        journal.opened(self.connection, self.scope["path"])
        self.opened()

    def opened(self) -> None:
        """The socket has just been accepted; nothing else was sent yet. Push the first frame here."""

    async def connected(self) -> None:
        """The socket is open."""

    def take_identity(self, identity: Identity) -> None:
        """From now on the connection is this user's."""
        self.scope["user"] = self.user = identity.user
        if identity is self.identity is NOBODY:
            return  # as it is by itself: most visitors' connections hold nothing of this
        self.identity = identity
        self.claims = identity.claims
        if self.connection is not None:
            self.connection.user = describe_user(identity.user)
            self.connection.claims = identity.claims
            self.connection.expires_at = identity.expires_at

    def _register(self) -> None:
        transport: Any = (self.scope.get("extensions") or {}).get("realtime.transport")
        if transport is None:
            transport = AsgiTransport(self.base_send)
        if self.chain.send is not None:
            transport = ChainTransport(transport, self)
        connection = self.connection = self.hub.register(transport)
        connection.consumer = self
        self.take_identity(self.identity)
        connection.address = self.handshake.address
        connection.user_agent = self.handshake.user_agent
        self.channel_name = CONNECTION + connection.id

    # --- counting: what limits look at -------------------------------------------------------------

    def places(self) -> list[Place]:
        """The counts that the connection takes part in from its handshake on, on all workers."""
        described = describe_user(self.user)
        return limits.places(self.handshake.address, described and described["id"])

    def counted(self, totals: dict[str, int]) -> None:
        """The handshake was counted: how many there are now in each of its ``places``."""

    def counted_out(self, totals: dict[str, int], opened: bool) -> None:
        """It has gone (``opened``: it had been let in): how many are left in each of the places that it was
        in. Called where Redis has said so."""

    async def count_in(self, places: Sequence[Place], arrival: Arrival | None = None) -> dict[str, int]:
        """Take a place in all of these counts or in none; returns the totals by name.

        Raises the refusal of the one that is full, LayerUnavailable.
        """
        totals = await census_of(self.hub).enter(places, arrival) if places or arrival else []
        names = [place.name for place in places]
        if self.connection.state is State.CLOSED:  # meanwhile: what it had was given back
            census_of(self.hub).leave(names)
            raise Unavailable()
        self.counted_in = (*(self.counted_in or ()), *names)
        return dict(zip(names, totals, strict=True))

    def count_out(self, names: Sequence[str], done: Callable[[dict[str, int]], None] | None = None) -> None:
        """Give back places before the end; ``done`` gets how many are left by name."""
        self.counted_in = tuple([name for name in self.counted_in or () if name not in names])
        self._give_back(names, done)

    def _give_back(self, names: Sequence[str], done: Callable[[dict[str, int]], None] | None) -> None:
        def left(totals: list[int]) -> None:
            if done is not None:
                done(dict(zip(names, totals, strict=True)))

        census_of(self.hub).leave(names, left)

    async def _refuse(self, refusal: Refused) -> None:
        self.hub.counters.refused += 1
        add(self.hub.counters.refusals, refusal.code)
        self._forget(CloseCode.ABNORMAL)
        await refuse(self.scope, self.base_send, refusal)
        raise StopConsumer()

    # --- 5: the end -------------------------------------------------------------------------------

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        opened = self.connection is not None
        code = message.get("code") or CloseCode.NO_STATUS
        self._forget(code)
        if opened:
            await self._disconnected(self.connection.close_code or code)
        raise StopConsumer()

    async def _disconnected(self, code: int) -> None:
        if self._was_open and code in LOST:
            await self._run_hooks(Hook.LOST, code)
        if self.chain.disconnect is None:
            await self.disconnect(code)
        else:
            await self.chain.disconnect(self, code, self.disconnect)
        if self._was_open:
            await self._run_hooks(Hook.DISCONNECTED, code)

    def _forget(self, code: int) -> None:
        if self.connection is not None and self.connection.state is not State.CLOSED:
            opened = self.connection.state is not State.CONNECTING
            self.connection.closed(code)
            if opened:
                journal.closed(self.connection)
            self.hub.unregister(self.connection)
            names, self.counted_in = self.counted_in, None
            if names:
                self._give_back(names, lambda left: self.counted_out(left, opened))
