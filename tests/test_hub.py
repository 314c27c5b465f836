"""The hub and its connections, with no socket and no layer below: who gets what, and how much waits."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from chat.realtime import config
from chat.realtime.connection import Connection, State
from chat.realtime.errors import LayerUnavailable
from chat.realtime.frames import Frame
from chat.realtime.hub import FRAME, Hub


class FakeLayer:
    """Subscriptions that are confirmed when the test says so."""

    up = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, asyncio.Future[None]]] = []
        self.left: list[str] = []

    def subscribe(self, group: str) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked.append((group, answer))
        return answer

    def unsubscribe(self, group: str) -> None:
        self.left.append(group)


class FakeTransport:
    """A socket that takes frames while it is ``ready``."""

    limits_messages = True

    def __init__(self) -> None:
        self.ready = True
        self.written: list[bytes] = []
        self.frames: list[Frame] = []
        self.closed: tuple[int, str] | None = None

    def attach(self, connection: Connection) -> None:
        pass

    def write_frame(self, frame: Frame) -> None:
        self.write_frames([frame])

    def write_frames(self, frames: list[Frame]) -> None:
        self.frames += frames
        self.written += [frame.payload for frame in frames]

    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None:
        self.closed = (code, reason)


@pytest.fixture
async def hub() -> Any:
    hub = Hub(FakeLayer())
    yield hub
    hub.stop()


@pytest.fixture
def small_buffer() -> Iterator[Any]:
    """``small_buffer(policy)``: a send buffer of three messages."""
    before = config.current()

    def apply(policy: str) -> None:
        config.apply(send_buffer=3, slow_consumer_policy=policy)

    yield apply
    config.apply(send_buffer=before.send_buffer, slow_consumer_policy=before.slow_consumer_policy)


def opened(hub: Hub) -> Connection:
    connection = hub.register(FakeTransport())
    connection.opened()
    return connection


async def joined(hub: Hub, group: str, connection: Connection) -> None:
    """Join, and let the layer confirm what it was asked."""
    joining = asyncio.ensure_future(hub.join(group, connection))
    await asyncio.sleep(0)
    for _, answer in hub.layer.asked:
        if not answer.done():
            answer.set_result(None)
    await joining


def message(text: bytes, **more: Any) -> dict[str, Any]:
    return {"type": FRAME, "data": text, **more}


# --- groups -------------------------------------------------------------------------------------------


async def test_a_group_is_subscribed_once_and_left_with_its_last_member(hub):
    """However many join, the layer is asked once; it is told when the last one has gone."""
    members = [opened(hub) for _ in range(3)]
    for member in members:
        await joined(hub, "g", member)
    assert [group for group, _ in hub.layer.asked] == ["g"]
    for member in members:
        assert hub.layer.left == []
        hub.unregister(member)
    assert hub.layer.left == ["g"]
    assert hub.groups == {}
    assert hub.connections == {}


async def test_nobody_is_in_before_the_layer_has_confirmed(hub):
    """A join returns with the confirmation, also for those who come while the first one waits."""
    joins = [asyncio.ensure_future(hub.join("g", opened(hub))) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(join.done() for join in joins)
    hub.layer.asked[0][1].set_result(None)
    await asyncio.wait_for(asyncio.gather(*joins), 1)


async def test_a_join_that_fails_leaves_nothing(hub):
    """When the layer does not confirm, all who waited are told, are in no group, and may try again."""
    members = [opened(hub) for _ in range(2)]
    joins = [asyncio.ensure_future(hub.join("g", member)) for member in members]
    await asyncio.sleep(0)
    hub.layer.asked[0][1].set_exception(LayerUnavailable())
    for outcome in await asyncio.gather(*joins, return_exceptions=True):
        assert isinstance(outcome, LayerUnavailable)
    assert hub.groups == {}
    assert all(member.groups == [] for member in members)
    await joined(hub, "g", members[0])
    assert list(hub.groups["g"]) == [members[0]]


async def test_a_newer_subscription_is_waited_for_though_an_older_one_answers(hub):
    """Left and joined again before the first answer: the second answer is the one that counts."""
    first, second, third = [opened(hub) for _ in range(3)]
    leaving = asyncio.ensure_future(hub.join("g", first))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    joining = asyncio.ensure_future(hub.join("g", second))
    await asyncio.sleep(0)
    old, new = [answer for _, answer in hub.layer.asked]
    old.set_result(None)
    await asyncio.sleep(0)
    late = asyncio.ensure_future(hub.join("g", third))
    await asyncio.sleep(0)
    assert not joining.done()
    assert not late.done()
    new.set_result(None)
    await asyncio.wait_for(asyncio.gather(joining, late), 1)


async def test_joining_twice_and_leaving_twice_is_once(hub):
    """Memberships are a set."""
    member = opened(hub)
    await joined(hub, "g", member)
    await joined(hub, "g", member)
    hub.deliver([("g", message(b"x"))])
    assert member.transport.written == [b"x"]
    hub.leave("g", member)
    hub.leave("g", member)
    hub.leave("never", member)
    assert hub.layer.left == ["g"]


# --- delivery -----------------------------------------------------------------------------------------


async def test_one_frame_for_all_members(hub):
    """Each member is given the same Frame object: it is encoded and framed once."""
    members = [opened(hub) for _ in range(3)]
    for member in members:
        await joined(hub, "g", member)
    hub.deliver([("g", message(b"x"))])
    frames = [member.transport.frames for member in members]
    assert len({id(frame) for (frame,) in frames}) == 1
    assert hub.counters.messages_out == 3


async def test_a_batch_keeps_its_order_for_each_member(hub):
    """Messages to several groups in one batch reach each member in the order they have there."""
    both, one = opened(hub), opened(hub)
    for group in ("a", "b"):
        await joined(hub, group, both)
    await joined(hub, "b", one)
    batch = [(group, message(f"{group}{number}".encode())) for number in range(5) for group in "ab"]
    hub.deliver(batch)
    assert both.transport.written == [data["data"] for _, data in batch]
    assert one.transport.written == [data["data"] for group, data in batch if group == "b"]


async def test_who_is_left_out_hears_nothing(hub):
    """`except` names connections that do not get the message, in a batch too."""
    ada, bob = opened(hub), opened(hub)
    for member in (ada, bob):
        await joined(hub, "g", member)
    without = message(b"x", **{"except": [ada.id]})
    hub.deliver([("g", without)])
    hub.deliver([("g", without), ("g", message(b"y"))])
    assert ada.transport.written == [b"y"]
    assert bob.transport.written == [b"x", b"x", b"y"]


async def test_a_group_without_members_and_a_gone_connection_take_nothing(hub):
    """What comes for nobody is dropped in silence."""
    hub.deliver([("nobody", message(b"x"))])
    hub.deliver([("nobody", message(b"x")), ("nobody", message(b"y"))])
    assert hub.deliver_to_connection("nobody", message(b"x")) is False


async def test_a_connection_that_is_not_open_gets_nothing(hub):
    """Neither before the accept nor after the close."""
    member = hub.register(FakeTransport())
    await joined(hub, "g", member)
    hub.deliver([("g", message(b"early"))])
    member.opened()
    hub.deliver([("g", message(b"x"))])
    member.close(4510)
    hub.deliver([("g", message(b"late"))])
    assert member.transport.written == [b"x"]
    assert member.transport.closed == (4510, "closed by an administrator")


# --- a slow client ------------------------------------------------------------------------------------


async def push_five(hub: Hub) -> Connection:
    """A connection whose socket takes one frame, is full for five more, then takes what is left."""
    connection = opened(hub)
    connection.push(Frame(b"0"))
    connection.transport.ready = False
    for number in range(1, 6):
        connection.push(Frame(f"{number}".encode()))
    return connection


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop_oldest", [b"0", b"3", b"4", b"5"]), ("drop_newest", [b"0", b"1", b"2", b"3"])],
)
async def test_a_full_buffer_drops_by_policy_and_counts(hub, small_buffer, policy, kept):
    """With three places for five messages two are dropped, oldest or newest; the rest comes in order."""
    small_buffer(policy)
    connection = await push_five(hub)
    assert connection.queue_depth == 3
    connection.transport.ready = True
    connection.resume()
    assert connection.transport.written == kept
    assert (connection.dropped, hub.counters.dropped) == (2, 2)
    assert connection.state is State.OPEN
    assert connection.queue_depth == 0


async def test_a_full_buffer_closes_by_default(hub, small_buffer):
    """4413, what waited is given up, and nothing more is taken."""
    small_buffer("close")
    connection = await push_five(hub)
    assert connection.transport.closed == (4413, "too slow to keep up")
    assert connection.queue_depth == 0
    assert connection.transport.written == [b"0"]
    assert hub.counters.slow_closed == 1
    assert connection.push(Frame(b"6")) is False


async def test_replies_wait_for_room_and_broadcasts_do_not(hub, small_buffer):
    """`send` waits while the buffer is full, until the client reads or the connection ends."""
    small_buffer("close")
    connection = opened(hub)
    connection.transport.ready = False
    for number in range(3):
        connection.push(Frame(f"{number}".encode()))
    reply = asyncio.ensure_future(connection.send(Frame(b"reply")))
    await asyncio.sleep(0)
    assert not reply.done()
    connection.transport.ready = True
    connection.resume()
    await asyncio.wait_for(reply, 1)
    assert connection.transport.written == [b"0", b"1", b"2", b"reply"]
    connection.transport.ready = False
    for number in range(3):
        connection.push(Frame(f"{number}".encode()))
    reply = asyncio.ensure_future(connection.send(Frame(b"never")))
    await asyncio.sleep(0)
    connection.closed(1006)
    await asyncio.wait_for(reply, 1)
    assert b"never" not in connection.transport.written


async def test_a_goodbye_comes_after_what_waited(hub):
    """Closed by an administrator: waiting messages first, then the close; a second close changes nothing."""
    connection = opened(hub)
    connection.transport.ready = False
    connection.push(Frame(b"waiting"))
    connection.close(4510, "bye")
    connection.close(1000)
    assert connection.transport.written == [b"waiting"]
    assert connection.transport.closed == (4510, "bye")
    assert connection.close_code == 4510
