"""Groups over real sockets: who gets a broadcast, what is counted for whom, and what a full socket does."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from chat.realtime.connection import Connection
from chat.realtime.frames import Frame
from chat.realtime.hub import FRAME, Hub
from chat.realtime.layers import MemoryLayer

TEA = b'{"id":null,"type":"chat","data":"tea"}'
LONG = b'{"id":null,"type":"chat","data":"' + b"many leaves of tea " * 50 + b'"}'


class SocketTransport:
    """The plainest transport: a socket, and what it has not taken yet."""

    limits_messages = True

    def __init__(self) -> None:
        self.socket, self.client = socket.socketpair()
        self.socket.setblocking(False)
        self.client.setblocking(False)
        self.kept = b""
        self.connection: Any = None

    @property
    def ready(self) -> bool:
        return not self.kept

    def attach(self, connection: Connection) -> None:
        self.connection = connection
        connection.send_bytes = self.socket.send

    def write_frame(self, frame: Frame) -> None:
        self.write_frames([frame])

    def write_frames(self, frames: list[Frame]) -> None:
        window = self.connection.window
        self.write_rest(b"".join([frame.wire_for(window) for frame in frames]))
        self.go_on()

    def write_rest(self, data: bytes) -> None:
        self.kept += data
        self.connection.pause()

    def go_on(self) -> None:
        """Send what the socket takes of what waits."""
        while self.kept:
            try:
                self.kept = self.kept[self.socket.send(self.kept) :]
            except BlockingIOError:
                return
        self.connection.resume()

    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None:
        pass

    def read(self) -> bytes:
        """All that the client has got since it last read."""
        found = b""
        while True:
            try:
                found += self.client.recv(1 << 20)
            except BlockingIOError:
                return found


@pytest.fixture
async def hub() -> Any:
    layer = MemoryLayer()
    layer.hub = hub = Hub(layer)
    yield hub
    hub.stop()


@pytest.fixture
def member(hub: Hub) -> Iterator[Any]:
    """``await member()``: an open connection in the groups "all" and "room"."""
    made: list[Connection] = []

    async def one(*groups: str, window: int = 0) -> Connection:
        connection = hub.register(SocketTransport())
        made.append(connection)
        connection.window = window
        for group in groups or ("all", "room"):
            await hub.join(group, connection)
        connection.opened()
        return connection

    yield one
    for connection in made:
        connection.transport.socket.close()
        connection.transport.client.close()


def say(hub: Hub, *messages: bytes, group: str = "room", **more: Any) -> None:
    """Messages that came for a group in one turn of the loop."""
    hub.deliver([(group, {"type": FRAME, "data": data, **more}) for data in messages])


def counted(*connections: Connection) -> list[tuple[int, int]]:
    return [(one.messages_out, one.bytes_out) for one in connections]


def times(number: int, payload: bytes = TEA) -> tuple[int, int]:
    return number, number * len(payload)


def fill(connection: Connection) -> None:
    """Leave no room in the socket, as a client does that does not read."""
    with suppress(BlockingIOError):
        while True:
            connection.transport.socket.send(bytes(4096))


async def test_each_is_counted_what_went_out_while_it_was_a_member(hub, member):
    """Over two groups, joins and leaves, the counts of each and the sums are what was sent."""
    first = await member()
    say(hub, TEA)
    second = await member()
    say(hub, TEA, TEA)
    say(hub, TEA, group="all")
    hub.leave("room", first)
    say(hub, TEA)
    third = await member("all")
    say(hub, TEA, group="all")
    assert counted(first, second, third) == [times(5), times(5), times(1)]
    hub.unregister(second)
    assert counted(second) == [times(5)]
    for connection, number in ((first, 5), (second, 5), (third, 1)):
        assert connection.transport.read() == Frame(TEA).wire * number
    assert (hub.counters.messages_out, hub.counters.bytes_out) == times(11)
    assert hub.counters.sent == {b"chat": 11}


async def test_those_left_out_get_and_count_nothing(hub, member):
    """A message's ``except`` holds for the members that it names, once or twice, and for nobody else."""
    out, inside, waiting = await member(), await member(), await member()
    waiting.pause()
    nowhere = await member("elsewhere")
    for payload in (TEA, LONG):
        say(hub, payload, **{"except": [out.id, out.id, waiting.id, nowhere.id, "unknown"]})
    say(hub, TEA)
    assert out.transport.read() == Frame(TEA).wire
    assert inside.transport.read() == Frame(TEA).wire + Frame(LONG).wire + Frame(TEA).wire
    assert counted(out, inside, waiting, nowhere) == [
        times(1),
        (3, 2 * len(TEA) + len(LONG)),
        times(1),
        times(0),
    ]
    assert hub.counters.messages_out == 5


async def test_a_socket_that_takes_a_part_gets_the_rest_in_order(hub, member):
    """A frame too large for the socket is finished by the transport; what comes meanwhile waits behind it."""
    slow, fast = await member(), await member()
    large = b'"' + b"x" * (1 << 20) + b'"'
    hub.give([slow], Frame(large))
    assert not slow.clear
    assert 0 < len(slow.transport.kept) < len(large)
    say(hub, TEA)
    say(hub, TEA, TEA)
    assert fast.transport.read() == Frame(TEA).wire * 3
    assert slow.queue_depth == 3
    got = b""
    while slow.transport.kept:
        got += slow.transport.read()
        slow.transport.go_on()
    assert got + slow.transport.read() == Frame(large).wire + Frame(TEA).wire * 3
    assert counted(slow, fast) == [(4, len(large) + 3 * len(TEA)), times(3)]


async def test_several_full_sockets_lose_nothing_and_stop_nobody(hub, member):
    """A broadcast that fits into some sockets only is kept for the others, once each."""
    members = [await member() for _ in range(6)]
    full = members[::2]
    for one in full:
        fill(one)
    say(hub, TEA)
    assert [one.clear for one in members] == [False, True] * 3
    assert counted(*members) == [times(1)] * 6
    for one in full:
        one.transport.read()
        one.transport.go_on()
        assert one.transport.read() == Frame(TEA).wire
    for one in members[1::2]:
        assert one.transport.read() == Frame(TEA).wire
    assert hub.counters.messages_out == 6


async def test_who_was_slow_is_sent_to_directly_again(hub, member):
    """When its socket takes more, a member's frames go to it at once as before, and are counted once."""
    one = await member()
    direct = hub.groups["room"][one]
    fill(one)
    say(hub, TEA)
    assert hub.groups["room"][one] != direct
    say(hub, TEA)
    assert (one.queue_depth, counted(one)) == (1, [times(2)])
    one.transport.read()
    one.transport.go_on()
    assert one.clear
    assert hub.groups["room"][one] == hub.groups["all"][one] == direct
    say(hub, TEA, TEA)
    assert one.transport.read() == Frame(TEA).wire * 4
    assert counted(one) == [times(4)]


async def test_a_closed_one_gets_nothing_more(hub, member):
    """From ``close`` on, a member that is still in its groups is not sent to, nor counted for."""
    closed, other = await member(), await member()
    say(hub, TEA)
    closed.close()
    for _ in range(2):
        say(hub, TEA)
        say(hub, TEA, TEA)
    assert closed.transport.read() == Frame(TEA).wire
    assert counted(closed, other) == [times(1), times(7)]
    assert hub.counters.messages_out == 8
    hub.unregister(closed)
    assert counted(closed) == [times(1)]


async def test_a_broken_socket_is_left_to_its_transport(hub, member):
    """An error of one socket's ``send`` harms no other member; the transport meets it in its turn."""
    broken, other = await member(), await member()
    broken.transport.socket.close()
    say(hub, TEA)
    assert broken.transport.kept == Frame(TEA).wire
    assert not broken.clear
    assert other.transport.read() == Frame(TEA).wire


async def test_compressed_and_plain_members_of_one_room(hub, member):
    """A long message goes compressed to those that take it so, plain to others, and counts its payload."""
    packed, plain = await member(window=15), await member()
    say(hub, LONG)
    say(hub, TEA)
    say(hub, LONG, LONG)
    got = packed.transport.read()
    assert got == Frame(LONG).packed + Frame(TEA).wire + 2 * Frame(LONG).packed
    assert plain.transport.read() == Frame(LONG).wire + Frame(TEA).wire + 2 * Frame(LONG).wire
    assert counted(packed, plain) == [(4, 3 * len(LONG) + len(TEA))] * 2


async def test_any_connections_can_be_given_a_frame(hub, member):
    """``give`` takes a list as well, and counts for each of its connections beside what its groups count."""
    one, other, left_out = await member(), await member("elsewhere"), await member()
    say(hub, TEA)
    hub.give([one, other, left_out], Frame(TEA), [left_out.id])
    say(hub, TEA)
    assert counted(one, other, left_out) == [times(3), times(1), times(2)]
    assert other.transport.read() == Frame(TEA).wire


async def test_groups_keep_their_order_in_one_turn(hub, member):
    """Messages of two groups that come together reach a member of both in the order in which they came."""
    one = await member()
    batch = [("room", b"1"), ("all", b"2"), ("room", b"3")]
    hub.deliver([(group, {"type": FRAME, "data": data}) for group, data in batch])
    assert one.transport.read() == b"".join([Frame(data).wire for _, data in batch])
    assert counted(one) == [(3, 3)]
