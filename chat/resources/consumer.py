"""``/api/resources/ws``: the resource protocol on a socket."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any, ClassVar

from chat.realtime import SignInConsumer, config, control, on
from chat.realtime.auth import describe_user
from chat.realtime.codes import CloseCode
from chat.realtime.connection import Connection
from chat.realtime.counters import add
from chat.realtime.errors import EnvelopeError, RealtimeError, Refused
from chat.realtime.frames import Frame
from chat.realtime.groups import topic_group
from chat.realtime.hub import Hub
from chat.realtime.transports import AsgiTransport

from . import hooks, messages
from .changes import origin
from .delivery import holding
from .errors import (
    HookError,
    InvalidMessageType,
    InvalidOperation,
    InvalidSubscriptionOperation,
    ResourceError,
)
from .feeds import feeds_of
from .hooks import ResourceContext, ResourceHook
from .members import Subscription
from .messages import Request
from .operations import Answer, perform
from .registry import lookup
from .resource import CREATE, DELETE, META, READ, SUBSCRIBE, UNSUBSCRIBE, UPDATE
from .subscriptions import subscribe, unsubscribe

EVERY_RESOURCE_CONNECTION = topic_group("resources")

REQUESTS = frozenset({READ, CREATE, UPDATE, DELETE, META})

# The realtime layer's codes in this protocol's words.
_CODES = {"invalid_json": "invalid_message", "unknown_type": "invalid_message_type"}


class ResourceConsumer(SignInConsumer):
    """Requests run beside each other, up to ``concurrency``; each is answered once. Notifications go on
    meanwhile, but those that a request of this connection caused come after its response."""

    concurrency = 8
    max_subscriptions: ClassVar[int] = 100  # of one connection
    subprotocols = ["resources.v1"]  # for browsers, which offer a token beside a real one
    decode = staticmethod(messages.decode)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subscriptions: dict[str, Subscription] = {}
        self.entering: list[str] = []  # ids of those that are about to begin
        self._numbers = count(1)
        self._answering: set[str] = set()  # requests under way
        # Frames, each behind the requests that it waits for, with the subscription that it is for.
        self._held: deque[tuple[Frame, Subscription | None] | str] | None = None

    # --- life -----------------------------------------------------------------------------------------

    def initial_groups(self) -> list[str]:
        return [*super().initial_groups(), EVERY_RESOURCE_CONNECTION]

    async def authorize(self) -> None:
        await super().authorize()
        if self.scope["type"] == "http":  # it only asks: hooks see a connection that nobody else does
            asking = Connection("", self.hub, AsgiTransport(self.base_send))
            asking.user = describe_user(self.user)
            asking.address, asking.user_agent = self.handshake.address, self.handshake.user_agent
            await self._before_connect(asking)

    async def connect(self) -> None:
        await self._before_connect(self.connection)
        await self.accept()

    async def _before_connect(self, connection: Connection) -> None:
        if not hooks.has(ResourceHook.BEFORE_CONNECT):
            return
        context = ResourceContext(connection=connection, user=self.user, consumer=self)
        try:
            await hooks.run(ResourceHook.BEFORE_CONNECT, context)
        except HookError as error:
            raise Refused(error.message, code=error.code) from None
        except ResourceError as error:
            raise Refused(error.message) from None

    async def connected(self) -> None:
        await self._tell(ResourceHook.AFTER_CONNECT)

    async def disconnect(self, code: int) -> None:
        await self._tell(ResourceHook.BEFORE_DISCONNECT, code)
        await self._tell(ResourceHook.AFTER_DISCONNECT, code)

    def _forget(self, code: int) -> None:
        super()._forget(code)
        if self.connection is not None:
            self._end_all()
            holding.discard(self.connection.id)
            self._held = None

    async def _tell(self, point: ResourceHook, code: int | None = None) -> None:
        if hooks.has(point):
            context = ResourceContext(connection=self.connection, user=self.user, consumer=self, code=code)
            await hooks.tell(point, context)

    # --- messages -------------------------------------------------------------------------------------

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        """One request: what it causes carries its number, so that its response goes first."""
        number = f"{self.connection.id}.{next(self._numbers)}"
        self._answering.add(number)
        origin.set(number)
        try:
            await super().receive(text_data, bytes_data, **kwargs)
        finally:
            self._answered(number)

    @on("request")
    async def request(self, message: Request) -> Any:
        """Read, create, update, delete, meta."""
        if message.operation not in REQUESTS:
            # The model is looked at before the operation.
            lookup(message.schema, message.entity)
            raise InvalidOperation(details={"operation": message.operation[:64]})
        return await perform(self, message)

    @on("subscription")
    async def subscription(self, message: Request) -> Any:
        """Subscribe, unsubscribe."""
        if message.operation == SUBSCRIBE:
            return await subscribe(self, message)
        if message.operation == UNSUBSCRIBE:
            return await unsubscribe(self, message)
        raise InvalidSubscriptionOperation(details={"operation": message.operation[:64]})

    @on("ping")
    async def ping(self, message: Request) -> None:
        """The same id and data come back."""
        await self.connection.send(Frame(messages.pong(message.id, message.data)))

    @on("pong")
    async def pong(self, message: Request) -> None:
        """An answer to nothing that this endpoint asks."""

    @on("auth")
    async def take_token(self, message: Request) -> Any:  # type: ignore[override]  # another answer
        """A fresh token, ``data.token``: answered as a request."""
        token = message.data.get("token") if type(message.data) is dict else None
        if type(token) is not str:
            raise EnvelopeError("An auth message needs data.token, a text.")
        return Answer(await self.renew(token))

    async def answer(self, message: Any, result: Any) -> None:
        """What a handler returned, or a middleware in its place."""
        made = result if isinstance(result, Answer) else Answer(result)
        await self.connection.send(Frame(messages.response(message.id, made.data, made.metadata)))

    def describe_failure(self, error: BaseException, *, ref: Any = None, kind: str | None = None) -> Frame:
        found = self.tell_failure(error, kind)
        code = _CODES.get(found.code, found.code)
        if isinstance(found, EnvelopeError) and found.code == "unknown_type":
            found = InvalidMessageType()
        add(self.hub.counters.errors, code)
        details = dict(found.details or {})
        if found.retry_after is not None:
            details["retry_after"] = found.retry_after
        return Frame(messages.failure(ref, code, found.message, details))

    # --- subscriptions --------------------------------------------------------------------------------

    def end_subscription(self, ident: str, why: RealtimeError) -> None:
        """End one that can't go on, and say so: a failed response to nothing that was asked."""
        subscription = self.subscriptions.pop(ident, None)
        if subscription is None:
            return
        subscription.end(self.connection)
        details = {**(why.details or {}), "subscription_id": ident}
        self.give(Frame(messages.failure(None, why.code, why.message, details)))

    def lose(self, words: str) -> None:
        """Changes were missed: close the socket, whose client comes back and begins anew. What it followed
        ends at once, so that nobody joins those who missed something."""
        self.connection.close(CloseCode.GOING_AWAY, words)
        self._end_all()

    def _end_all(self) -> None:
        subscriptions, self.subscriptions = self.subscriptions, {}
        for subscription in subscriptions.values():
            subscription.end(self.connection)

    def give(self, frame: Frame) -> None:
        """Send a frame behind those that are held back."""
        if self._held is None:
            self.connection.push(frame)
        else:
            self.hold(frame)

    # --- the response goes first ----------------------------------------------------------------------

    def expect(self, number: str) -> None:
        """Hold back what comes from now on until this request is answered."""
        if number not in self._answering:
            return
        if self._held is None:
            self._held = deque()
            holding.add(self.connection.id)
        if number not in self._held:
            self._held.append(number)

    def hold(self, frame: Frame, ident: str = "") -> None:
        """``ident``: of the subscription that a frame is for; if that has ended when its turn comes, and even
        if the same has begun anew, it is not sent."""
        if self._held is None:
            self.connection.push(frame)
            return
        self._held.append((frame, self.subscriptions.get(ident)))
        if len(self._held) > 2 * config.current().send_buffer:
            self._release(lambda number: True)  # a hook takes its time: better out of turn than without bound

    def _answered(self, number: str) -> None:
        self._answering.discard(number)
        if self._held is not None:
            self._release(lambda waiting: waiting not in self._answering)

    def _release(self, is_answered: Any) -> None:
        held = self._held
        while held:
            first = held[0]
            if isinstance(first, str):
                if not is_answered(first):
                    return
                held.popleft()
                continue
            held.popleft()
            frame, subscription = first
            if subscription is None or self.subscriptions.get(subscription.group.id) is subscription:
                self.connection.push(frame)
        self._held = None
        holding.discard(self.connection.id)


@control.command("resource_counts")
def _counts(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    """What this worker has."""
    groups = [group for feed in feeds_of(hub) for group in feed.followers]
    return {
        "connections": len(hub.groups.get(EVERY_RESOURCE_CONNECTION, ())),
        "subscriptions": sum(group.size for group in groups),
    }
