"""The channel layer: Channels' own promises, one subscription a group and process, deadlines, sharding."""

import asyncio
import contextlib
import re
import secrets

import pytest
from channels.layers import BaseChannelLayer, InMemoryChannelLayer
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime import config
from chat.realtime.errors import LayerUnavailable
from chat.realtime.groups import room_group, user_group
from chat.realtime.hub import FRAME
from chat.realtime.layers import MemoryLayer, RedisLayer, get_layer
from chat.realtime.runtime import get_hub
from tests.kit import default_layer, eventually, on_each_worker


def new_layer(*urls: str) -> RedisLayer:
    return RedisLayer(hosts=list(urls), prefix=f"test-{secrets.token_hex(4)}")


@contextlib.contextmanager
def short_deadlines(seconds: float):
    """Redis calls may take so long, for this process."""
    before = config.current().redis_timeout
    config.apply(redis_timeout=seconds)
    try:
        yield
    finally:
        config.apply(redis_timeout=before)


async def received(layer: BaseChannelLayer, channel: str) -> dict:
    return await asyncio.wait_for(layer.receive(channel), 5)


# --- what Channels promises ---------------------------------------------------------------------------


async def test_a_message_to_a_channel_is_received_once_and_in_order(layer):
    """`send` and `receive` on a channel of `new_channel`."""
    channel = await layer.new_channel()
    for number in range(20):
        await layer.send(channel, {"type": "n", "number": number, "bytes": b"\x00", "text": "ü", "list": [1]})
    got = [await received(layer, channel) for _ in range(20)]
    assert [message["number"] for message in got] == list(range(20))
    assert got[0] == {"type": "n", "number": 0, "bytes": b"\x00", "text": "ü", "list": [1]}


async def test_a_group_reaches_its_members_and_nobody_else(layer):
    """`group_add`, `group_send`, `group_discard` with plain channels."""
    first, second, third = [await layer.new_channel() for _ in range(3)]
    for channel in (first, second, third):
        await layer.group_add("group", channel)
    await layer.group_discard("group", third)
    await layer.group_send("group", {"type": "a"})
    await layer.send(third, {"type": "b"})
    assert (await received(layer, first))["type"] == "a"
    assert (await received(layer, second))["type"] == "a"
    assert (await received(layer, third))["type"] == "b"


async def test_a_group_without_members_takes_messages_in_silence(layer):
    """Sending to nobody, and leaving what was never joined, is no error."""
    await layer.group_send("nobody", {"type": "a"})
    await layer.group_discard("nobody", await layer.new_channel())


async def test_receivers_do_not_share_a_message(layer):
    """What one receiver does to a message, the other does not see."""
    first, second = [await layer.new_channel() for _ in range(2)]
    for channel in (first, second):
        await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "a", "list": []})
    (await received(layer, first))["list"].append(1)
    assert (await received(layer, second))["list"] == []


# --- names --------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=5, unique=True))
def test_names_of_groups_are_derived_and_never_shared(names):
    """Rooms and users of any name get a group each, in characters and a length that every layer allows."""
    groups = [room_group(name) for name in names] + [user_group(name) for name in names]
    assert len(set(groups)) == len(groups)
    for group in groups:
        assert BaseChannelLayer().require_valid_group_name(group)
        assert len(group) < 80


async def test_redis_sees_no_rooms_name(server, connect, redis):
    """A room's name appears in no channel, no key and no value of Redis."""
    name = f"unmistakable-{secrets.token_hex(4)}"
    client = await connect(server.ws(name))
    await client.round_trip()
    with redis.client() as redis_client:
        assert name not in str(redis_client.pubsub_channels())
        assert name not in str(redis_client.keys())


# --- one subscription a group and process --------------------------------------------------------------


async def test_a_worker_subscribes_to_a_room_once(server, connect, redis, room):
    """Whatever the number of members, a room is one subscription a worker; with its last member it ends."""
    channel = room_group(room)
    members = await on_each_worker(server, lambda: connect(server.ws(room)))
    members += [await connect(server.ws(room)) for _ in range(20)]
    assert subscribers(redis, channel) == 2
    for client in members[1:]:
        await client.close()
    await eventually(lambda: subscribers(redis, channel) == 1, "one subscriber")
    await members[0].close()
    await eventually(lambda: subscribers(redis, channel) == 0, "no subscriber")


def subscribers(redis, group: str) -> int:
    with redis.client() as client:
        names = [name for name in client.pubsub_channels() if name.endswith(group)]
        return sum(count for _, count in client.pubsub_numsub(*names)) if names else 0


async def test_a_hub_gets_what_is_published(layer):
    """`publish` of both layers delivers to the hub; the in-memory one from any thread."""
    hub = get_hub()
    heard = []
    hub.deliver = heard.extend
    await layer.for_loop().subscribe("g")
    if not isinstance(layer, MemoryLayer):
        assert await layer.for_loop().ping(5)
    if isinstance(layer, MemoryLayer):
        await asyncio.to_thread(layer.publish, "g", {"type": FRAME, "data": b"x"})
    else:
        layer.for_loop().publish("g", {"type": FRAME, "data": b"x"})
    message = await eventually(lambda: next((what for group, what in heard if group == "g"), None))
    published = message.pop("at")
    assert message == {"type": FRAME, "data": b"x"}
    assert 0 <= layer.for_loop().now("g") - published < 5


# --- deadlines ----------------------------------------------------------------------------------------


async def test_a_frozen_redis_fails_every_call_in_time(own_redis):
    """Publishing, subscribing and pinging end at the deadline, with LayerUnavailable or False."""
    layer = new_layer(own_redis.url).for_loop()
    await layer.subscribe("before")
    outcomes = []
    with short_deadlines(0.4):
        own_redis.freeze()
        began = asyncio.get_running_loop().time()
        layer.publish("before", {"type": "x"}, outcomes.append)
        subscribing = layer.subscribe("after")
        assert await layer.ping(0.4) is False
        with pytest.raises(LayerUnavailable):
            await asyncio.wait_for(subscribing, 5)
        await eventually(lambda: outcomes, "the publish's outcome")
        assert isinstance(outcomes[0], OSError | TimeoutError)
        assert asyncio.get_running_loop().time() - began < 2
        own_redis.thaw()
        await eventually(lambda: layer.ping(0.4), "a PONG")
    await layer.subscribe("after")


async def test_a_redis_that_is_away_fails_every_call_in_time(own_redis):
    """Without a server calls wait for it until their deadline, then fail; when it comes they succeed."""
    layer = new_layer(own_redis.url).for_loop()
    own_redis.kill()
    outcomes = []
    with short_deadlines(0.3):
        layer.publish("g", {"type": "x"}, outcomes.append)
        with pytest.raises(LayerUnavailable):
            await asyncio.wait_for(layer.subscribe("g"), 5)
        await eventually(lambda: outcomes, "the publish's outcome")
        assert isinstance(outcomes[0], OSError | TimeoutError)
    own_redis.start()
    await layer.subscribe("g")
    assert await layer.ping(2)


async def test_answers_come_to_the_commands_they_belong_to(redis):
    """Two thousand commands at once: each gets its own answer, also beside one that Redis refuses."""
    link = new_layer(redis.url).for_loop().links()[0]
    wrong = asyncio.gather(link.call("NOSUCHCOMMAND"), return_exceptions=True)
    answers = await asyncio.gather(*(link.call("ECHO", f"{number}") for number in range(2000)))
    assert [int(answer) for answer in answers] == list(range(2000))
    assert isinstance((await wrong)[0], OSError | Exception)
    assert await link.call("ECHO", "after") == b"after"


async def test_what_waits_for_redis_is_bounded(own_redis):
    """More than 10,000 commands or 32 MiB wait for no Redis: what exceeds that is refused at once."""
    link = new_layer(own_redis.url).for_loop().links()[0]
    own_redis.freeze()
    outcomes = []
    for _ in range(10_500):
        link.command("ECHO", "x", done=outcomes.append)
    assert len(outcomes) == 500
    assert all(isinstance(outcome, ConnectionError) for outcome in outcomes)
    await link.close()
    assert len(outcomes) == 10_500
    for _ in range(40):
        link.command("ECHO", bytes(2**20), done=outcomes.append)
    assert len(outcomes) == 10_500 + 9
    own_redis.thaw()
    await link.close()


async def test_redis_clock_may_move(redis):
    """When Redis' clock has moved by an hour against ours, publishing goes on (at most a moment is lost)."""
    with default_layer(new_layer(redis.url)):
        layer = get_hub().layer
    await layer.subscribe("g")
    assert await published(layer)
    for step in (-3600, 3600):
        layer.links()[0]._clock += step
        await eventually(lambda: published(layer), "a publish", 2)


async def published(layer) -> bool:
    """Whether a message was taken."""
    outcome = asyncio.get_running_loop().create_future()
    layer.publish("g", {"type": "x"}, outcome.set_result)
    return await asyncio.wait_for(outcome, 5) == 1


# --- sharding -----------------------------------------------------------------------------------------


async def test_groups_are_spread_over_several_redis(redis, own_redis):
    """With two hosts groups are on one or the other; each reaches its members."""
    layer = new_layer(redis.url, own_redis.url)
    channel = await layer.new_channel()
    names = [f"group-{number}" for number in range(20)]
    for name in names:
        await layer.group_add(name, channel)
    spread = [
        [name for name in server.channels() if re.search(r"group-\d+$", name)]
        for server in (redis, own_redis)
    ]
    assert all(len(found) > 2 for found in spread)
    assert sum(map(len, spread)) == 20
    for name in names:
        await layer.group_send(name, {"type": name})
    assert {(await received(layer, channel))["type"] for _ in names} == set(names)


# --- which layer --------------------------------------------------------------------------------------


async def test_another_layer_is_refused_by_name():
    """A CHANNEL_LAYERS backend that is none of ours is named at once, not found out by a missing message."""
    with (
        default_layer(InMemoryChannelLayer()),
        pytest.raises(ImproperlyConfigured, match="RedisLayer or MemoryLayer"),
    ):
        get_layer()
