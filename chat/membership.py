"""The rooms of one connection: its endpoint's own, and those that it joins besides, by one mechanism.

A membership is a place in the room's group, in its count on all workers, in its list of members and in its
presence. `RoomMember` begins and ends memberships; which ones a connection has, the connection itself knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from chat import actions, authorizer, live, passwords, presence, rooms
from chat.realtime import (
    CloseCode,
    EnvelopeError,
    Forbidden,
    Incoming,
    LayerUnavailable,
    RealtimeConsumer,
    Refused,
    Unavailable,
    config,
    envelope,
    log,
    on,
)
from chat.realtime.allowance import told
from chat.realtime.census import Place
from chat.realtime.connection import State
from chat.realtime.consumer import ref_of
from chat.realtime.frames import Frame
from chat.realtime.groups import room_group
from chat.realtime.ratelimit import Rate, Table

logger = logging.getLogger("chat")

LISTS = Rate(1 / 5, 1)  # lists of members of a room for one connection: 500 members are 136 KB
MOST_LISTED = 64  # rooms of which a connection's last list is remembered


class RoomMember(RealtimeConsumer):
    """A consumer whose connection comes into rooms and leaves them.

    ``room`` is the endpoint's own, where a message without a room goes; None on an endpoint without one.
    """

    room: str | None = None
    name: str | None = None
    claims: dict[str, Any] | None = None
    members = 0  # in it on all workers, when this connection came
    _gone: Sequence[str] = ()  # the rooms that it was in at its end
    _changing: asyncio.Lock | None = None  # made with the first `join`
    _lists: Table | None = None  # made with the first `join` that asks for a list
    _keys: dict[str, str] | None = None  # room → the hash of the password with which it came in

    # --- coming -----------------------------------------------------------------------------------

    async def may_enter(self, room: str, password: Any = None) -> None:
        """Raise NotFound(``invalid_room``), Forbidden, Refused(``rate_limited``), Unavailable, or what an
        app's authorizer raises. ``password`` is what the client gave; None: nothing."""
        rooms.check_name(room, live.policy().room_pattern)
        rule = await rooms.check_access(room, self.user)
        if not self._has_key(room, rule):
            await passwords.check(self.hub, room, rule.password, password, self.handshake.address)
            self._keys = {**(self._keys or {}), room: rule.password}
        await self.may_stay(room)

    async def may_stay(self, room: str) -> None:
        """Raise Forbidden, Unavailable, or what an app's authorizer raises."""
        rule = await rooms.check_access(room, self.user)
        if not self._has_key(room, rule):
            raise Forbidden("The room has another password now.", code="password_required")
        if authorizer.is_there():
            await authorizer.check(room, self.user, self.claims, self._visitor())

    def fits(self, room: str, rule: rooms.Rule) -> bool:
        """Whether a room's row lets it stay."""
        return rule.admits(self.user) and self._has_key(room, rule)

    def _has_key(self, room: str, rule: rooms.Rule) -> bool:
        return not rule.password or (self._keys or {}).get(room) == rule.password

    def _visitor(self) -> authorizer.Visitor:
        ident = None if self.connection is None else self.connection.id
        asked = self.handshake
        return authorizer.Visitor(ident, asked.address, asked.user_agent, self.name)

    # The endpoint's own room is entered with the handshake: counted with all else that is, in one question.

    def places(self) -> list[Place]:
        if self.room is None:
            return super().places()
        return [*super().places(), actions.room_place(self.room)]

    def counted(self, totals: dict[str, int]) -> None:
        if self.room is not None:
            self.members = totals[room_group(self.room)]

    def initial_groups(self) -> list[str]:
        if self.room is None:
            return super().initial_groups()
        self.connection.room = self.room
        return [*super().initial_groups(), room_group(self.room)]

    async def enter(self, room: str) -> int:
        """Begin a membership of a room that may be entered; returns the room's members on all workers.

        Raises Full, LayerUnavailable.
        """
        connection = self.connection
        members = await actions.enter(connection, room)
        if connection.state is State.CLOSED:  # meanwhile, where handlers run beside its end
            actions.leave(connection, room, announced=False)
            raise EnvelopeError("The connection has ended.")
        if room == self.room:
            connection.room = room
        else:
            connection.add_room(room)
        return members

    async def join(self, room: str) -> None:
        """Become a member, unless it is one: counted, and the others are told. No rule is asked.

        Raises Full, LayerUnavailable.
        """
        if not self.connection.in_room(room):
            self.greet(room, await self.enter(room))

    def greet(self, room: str, members: int) -> None:
        """Tell the others who came."""
        presence.announce(self.connection, room, "online", members)

    async def send_members(self, room: str) -> None:
        """Say who is in the room, on all workers; asked once a moment, however many come at once."""
        try:
            members, total = await presence.members_of(self.hub, room)
        except LayerUnavailable:
            return  # the next connection asks again; presence tells of those who come
        data = {"event": "members", "members": members, "truncated": total > len(members)}
        await self.connection.send(Frame(envelope.encode("system", data, room=room)[1]))

    # --- going ------------------------------------------------------------------------------------

    @property
    def entered(self) -> list[str]:
        """The rooms that it is in; during the handshake, the one that it was let into."""
        if self.connection.state is State.CONNECTING:
            return [] if self.room is None else [self.room]
        return self.connection.all_rooms()

    def withdraw(self, room: str, reason: str = "access_withdrawn") -> None:
        """It may not be in the room any more: its endpoint's own ends the connection."""
        if room not in self.entered:
            return
        log.event(logger, logging.INFO, "put_out", connection=self.connection, room=room, reason=reason)
        if room != self.room:
            self.put_out(room, reason)
        elif reason == "unavailable":  # it may come back, and is looked at then
            self.connection.close(CloseCode.INTERNAL_ERROR, "access can't be checked")
        else:
            self.connection.close(CloseCode.ACCESS_WITHDRAWN)

    async def recheck(self, room: str) -> None:
        """Rights may have changed: leave the room where it may not stay, or where nobody can tell."""
        if room not in self.entered:
            return
        try:
            await self.may_stay(room)
        except Unavailable:
            self.withdraw(room, "unavailable")
        except Refused:
            self.withdraw(room)

    async def signed_in(self) -> None:
        """The client sent a token: other claims may let it into other rooms."""
        authorizer.recheck_one(self)

    def quit(self, room: str) -> None:
        self._end(room)

    def _end(self, room: str, *, announced: bool = True) -> None:
        """What began with `may_enter`, or with `enter`, is over."""
        if self._keys is not None:
            self._keys.pop(room, None)
        if self.connection.in_room(room):
            self.connection.discard_room(room)
            actions.leave(self.connection, room, announced=announced)

    def _forget(self, code: int) -> None:
        gone = [] if self.connection is None else self.connection.all_rooms()
        if gone:
            self._gone = gone
        for room in gone:
            self.connection.discard_room(room)
        super()._forget(code)
        for room in gone:
            presence.forget(self.hub, room)

    def counted_out(self, totals: dict[str, int], opened: bool) -> None:
        if opened:  # of one that was refused in its handshake nobody has heard
            for room in self._gone:
                actions.tell_left(self.connection, room, totals[room_group(room)])

    # --- what a client asks -----------------------------------------------------------------------

    @on("join")
    async def join_room(self, message: Incoming) -> None:
        """One more room on this socket; one that it is in already is answered the same.

        A list of members that was asked for too soon does not come; the answer says when it would.
        """
        room, ref = _named(message)
        options = message.data if type(message.data) is dict else {}
        async with self._turn():
            came = await self._enter_by_wish(room, options.get("password"))
            wait = self._list_wait(room) if options.get("members") is True else None
            self._tell("joined", room, ref, **({"retry_after": told(wait)} if wait else {}))
        if came:
            self.greet(room, came)
        if wait == 0:
            await self.send_members(room)

    def _list_wait(self, room: str) -> float:
        """Take one list of the room: 0, or the seconds to wait for it."""
        if self._lists is None:
            self._lists = Table(MOST_LISTED)
        return self._lists.spend(room, LISTS, self.hub.loop.time())

    def _turn(self) -> asyncio.Lock:
        """One change after the other, for consumers whose handlers run beside each other."""
        if self._changing is None:
            self._changing = asyncio.Lock()
        return self._changing

    async def _enter_by_wish(self, room: str, password: Any) -> int:
        """Returns the room's members, or 0 where it was in there already. Raises EnvelopeError: what a
        handshake would be refused with, or ``too_many_rooms``."""
        if self.connection.in_room(room):
            return 0
        most = config.current().max_rooms
        if most and len(self.connection.all_rooms()) >= most:
            raise EnvelopeError(f"One connection may be in {most} rooms.", code="too_many_rooms")
        try:
            return await self._enter_by_right(room, password)
        except Refused as refusal:
            raise EnvelopeError(refusal.message, code=refusal.code, retry_after=refusal.retry_after) from None
        except LayerUnavailable as error:
            words = "The room can't be joined: the server's message bus can't be reached. Try again."
            raise EnvelopeError(words, code=error.code, retry_after=2) from None

    async def _enter_by_right(self, room: str, password: Any) -> int:
        members = 0
        try:
            while True:
                asked = rights()
                await self.may_enter(room, password)
                if not members:
                    members = await self.enter(room)
                if asked == rights():  # else the newcomer was missed when all who are inside were looked at
                    return members
        except BaseException:
            self._end(room, announced=False)
            raise

    @on("leave")
    async def leave_room(self, message: Incoming) -> None:
        """Out of a room, its endpoint's own too: the socket lives on, and may join it again."""
        room, ref = _named(message)
        async with self._turn():
            self.must_be_in(room)
            self.quit(room)
            self._tell("left", room, ref)

    def must_be_in(self, room: str) -> None:
        if not self.connection.in_room(room):
            raise EnvelopeError("You are not in that room.", code="not_in_room")

    def _tell(self, event: str, room: str, ref: str | None, **more: Any) -> None:
        data: dict[str, Any] = {"event": event, "room": room, **more}
        if ref is not None:
            data["ref"] = ref
        self.connection.push(Frame(envelope.encode("system", data, room=room)[1]))


def rights() -> int:
    """A larger number as soon as nobody may be let in any more on what was decided before."""
    return rooms.generation() + authorizer.calls()


def client_ref(message: Incoming) -> str | None:
    """The message's own id, which the answer repeats. Raises EnvelopeError."""
    ref = ref_of(message)
    if ref is not None and (type(ref) is not str or len(ref) > envelope.MAX_ID_LENGTH):
        raise EnvelopeError(f"A message's id is a text of at most {envelope.MAX_ID_LENGTH} characters.")
    return ref


def _named(message: Incoming) -> tuple[str, str | None]:
    """The room that a ``join`` or ``leave`` is about, and the client's ref. Raises EnvelopeError."""
    ref = client_ref(message)
    if message.room is None:
        raise EnvelopeError("Say in room which one is meant.")
    return message.room, ref
