"""`join` and `leave`: more rooms on one socket, each a membership like the endpoint's own."""

import asyncio
import json
import random
import secrets

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from chat.consumers import GlobalChatConsumer
from chat.realtime import config
from chat.realtime.census import census_of
from chat.realtime.groups import room_group
from chat.realtime.runtime import get_hub
from chat.realtime.testing.workers import ask
from tests.kit import ChatServer, Client, all_heard, eventually, on_each_worker
from tests.test_admin_live import Operator, words

SOON = 2.0  # seconds within which a saved change holds on every worker


async def joined(client: Client, room: str, **data: object) -> dict:
    """Join a room, and wait for the answer."""
    ref = secrets.token_hex(4)
    await client.send({"type": "join", "id": ref, "room": room, "data": data})
    return await client.expect(type="system", room=room, data={"event": "joined", "ref": ref})


async def left(client: Client, room: str) -> dict:
    await client.send({"type": "leave", "id": "bye", "room": room})
    return await client.expect(type="system", room=room, data={"event": "left", "ref": "bye"})


async def refused(client: Client, message: dict, code: str) -> dict:
    """Send a message that is answered with this error and nothing else."""
    await client.send({"id": "no", **message})
    return (await client.expect(type="error", data={"code": code, "ref": "no"}))["data"]


@pytest.fixture
async def pair(server, connect):
    """Two clients without a room, one on each worker."""
    return await on_each_worker(server, lambda: connect(server.ws()))


# --- joining ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [None, "own"])
async def test_what_is_said_in_a_joined_room_comes_once_to_all_its_members(server, connect, room, endpoint):
    """From both workers, on the global endpoint and on a room's; nobody else gets it."""
    own = None if endpoint is None else f"{room}-own"
    members = await on_each_worker(server, lambda: connect(server.ws(own)))
    members.append(await connect(server.ws(room)))
    for client in members[:2]:
        frame = await joined(client, room)
        assert frame["data"]["room"] == room
        assert frame["from"] is None
    stranger = await connect(server.ws(own))
    for speaker in members:
        words = f"from {speaker.id}"
        await speaker.send_chat(words, room=room, id="m")
        await speaker.expect(type="ack", room=room, data={"ref": "m"})
        for client in members:
            frame = await client.expect(type="chat", data={"content": words})
            assert (frame["room"], frame["from"]) == (room, speaker.id)
    await all_heard(server, *members, stranger)
    for client in members:
        assert len(await client.all(type="chat", room=room)) == len(members)
    await stranger.nothing(type="chat", room=room)


async def test_a_message_without_a_room_goes_where_the_endpoint_says(server, connect, room):
    """Joining changes nothing about that: to the endpoint's room, on the global endpoint to everybody."""
    inside, outside = await connect(server.ws(room)), await connect(server.ws())
    await joined(inside, f"{room}-2")
    await joined(outside, f"{room}-2")
    await inside.send_chat("to my room")
    await outside.send_chat("to all")
    assert (await inside.expect(type="chat", data={"content": "to my room"}))["room"] == room
    assert (await inside.expect(type="chat", data={"content": "to all"}))["room"] is None
    await all_heard(server, outside)
    await outside.nothing(type="chat", room=room)


async def test_a_global_message_comes_once_whatever_rooms_one_is_in(server, connect, room):
    """A connection in four rooms gets one copy of what goes to everybody."""
    client, speaker = await connect(server.ws(room)), await connect(server.ws())
    for number in range(3):
        await joined(client, f"{room}-{number}")
    await speaker.send_chat(room)
    await all_heard(server, client)
    assert len(await client.all(type="chat", data={"content": room})) == 1


async def test_joining_again_is_answered_and_changes_nothing(server, pair, connect, room):
    """`joined` each time; one membership: one copy of a message, one in the count, nothing told."""
    watcher = await connect(server.ws(room))
    for _ in range(3):
        await joined(pair[0], room)
    await joined(watcher, room)
    await watcher.send_chat("once")
    await all_heard(server, pair[0], watcher)
    assert len(await pair[0].all(type="chat", data={"content": "once"})) == 1
    assert len(await watcher.all(type="presence", data={"status": "online"})) == 1
    assert sum(answer["rooms"].get(room, 0) for answer in await ask(server, "rooms")) == 2
    await left(pair[0], room)
    await watcher.expect(type="presence", from_=pair[0].id, data={"status": "offline"})


async def test_the_list_of_members_comes_once_in_five_seconds(server, connect, room):
    """Asked for at message rate, also after leaving in between, it comes once; `joined` comes each time and
    says when the next list may. Of another room it comes, and with a later `join` again."""
    client = await connect(server.ws())
    first = await joined(client, room, members=True)
    assert "retry_after" not in first["data"]
    for number in range(20):
        if number == 10:
            await left(client, room)
        told = (await joined(client, room, members=True))["data"]["retry_after"]
        assert 0 < told <= 5.01
    assert "retry_after" not in (await joined(client, room))["data"]
    await joined(client, f"{room}-2", members=True)
    await client.expect(type="system", room=f"{room}-2", data={"event": "members"})
    assert len(await client.all(type="system", room=room, data={"event": "members"})) == 1

    async def again() -> bool:
        return "retry_after" not in (await joined(client, room, members=True))["data"]

    await eventually(again, "the next list", 7)
    await client.round_trip()
    assert len(await client.all(type="system", room=room, data={"event": "members"})) == 2


async def test_the_members_come_when_asked_for(server, pair, connect, room):
    """`data.members` true: the list of the room on all workers, as on its own endpoint; else none."""
    there = await connect(server.ws(room, "name=Ada"))
    await joined(pair[0], room)
    await joined(pair[1], room, members=True)
    frame = await pair[1].expect(type="system", room=room, data={"event": "members", "truncated": False})
    assert {member["id"]: member["name"] for member in frame["data"]["members"]} == {
        there.id: "Ada",
        pair[0].id: None,
        pair[1].id: None,
    }
    await pair[0].nothing(type="system", data={"event": "members"})
    late = await connect(server.ws(room, "members=1"))
    frame = await late.expect(type="system", data={"event": "members"})
    assert {pair[0].id, pair[1].id} < {member["id"] for member in frame["data"]["members"]}


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "join"}, "invalid_message"),
        ({"type": "join", "room": None}, "invalid_message"),
        ({"type": "leave"}, "invalid_message"),
        ({"type": "join", "room": ""}, "invalid_room"),
        ({"type": "join", "room": "orders/7"}, "invalid_room"),
        ({"type": "join", "room": "a b"}, "invalid_room"),
        ({"type": "join", "room": "x" * 129}, "invalid_room"),
        ({"type": "join", "room": "tea\n"}, "invalid_room"),
        ({"type": "leave", "room": "never-joined"}, "not_in_room"),
        ({"type": "leave", "room": "orders/7"}, "not_in_room"),
        ({"type": "chat", "room": "never-joined", "data": {"content": "x"}}, "not_in_room"),
    ],
    ids=str,
)
@pytest.mark.parametrize("endpoint", [None, "room"])
async def test_what_makes_no_sense_is_one_error(server, connect, room, endpoint, message, code):
    """No room named, a name that can't be one (an app's, with a slash, too), a room that was not joined."""
    client = await connect(server.ws(endpoint and room))
    await refused(client, message, code)
    await client.round_trip()
    assert len(await client.all(type="error")) == 1


@pytest.mark.parametrize("ref", [7, "x" * 129, {"a": 1}], ids=["number", "long", "object"])
async def test_an_id_that_can_not_be_repeated_is_refused(server, connect, room, ref):
    """As for `chat`: the id of a `join` is a text of at most 128 characters."""
    client = await connect(server.ws())
    await client.send({"type": "join", "id": ref, "room": room})
    await client.expect(type="error", data={"code": "invalid_message"})
    await refused(client, {"type": "leave", "room": room}, "not_in_room")


async def test_data_of_any_kind_does_not_hurt(server, connect, room):
    """`data` that is no object is no reason to refuse a `join`."""
    client = await connect(server.ws())
    for number, data in enumerate((None, "members", 7, [True], {"members": "yes"})):
        await client.send({"type": "join", "room": f"{room}-{number}", "data": data})
        await client.expect(type="system", room=f"{room}-{number}", data={"event": "joined"})
    await client.nothing(type="system", data={"event": "members"})


async def test_so_many_rooms_and_no_more(server, connect, room):
    """The endpoint's own counts: all but one more are joined, the next is `too_many_rooms`; leaving makes
    room; joining again is no room more."""
    client = await connect(server.ws(room))
    most = client.welcome["data"]["limits"]["rooms"]
    assert most > 10
    for number in range(most - 1):
        await joined(client, f"{room}-{number}")
    await refused(client, {"type": "join", "room": f"{room}-{most}"}, "too_many_rooms")
    await joined(client, f"{room}-7")
    await left(client, f"{room}-7")
    await joined(client, f"{room}-{most}")
    await refused(client, {"type": "join", "room": f"{room}-7"}, "too_many_rooms")


async def kept_out(client: Client, room: str) -> bool:
    """Whether a `join` is `forbidden`; one that is not is undone."""
    await client.send({"type": "join", "id": "?", "room": room})
    while (answer := await client.next())["data"].get("ref") != "?":
        pass
    if answer["type"] == "system":
        await client.send({"type": "leave", "room": room})
        await client.expect(type="system", room=room, data={"event": "left"})
    return answer["data"].get("code") == "forbidden"


async def test_the_rules_of_a_room_hold_for_joining(server, connect, room):
    """Closed, for members, for signed-in users: `forbidden` for those whom the handshake would refuse."""
    user = await asyncio.to_thread(server.create_user, f"join-{room}")
    for name, fields, members in (
        ("closed", {"closed": True}, (user.id,)),
        ("members", {"access": "members"}, (user.id,)),
        ("signed-in", {"access": "signed_in"}, ()),
    ):
        await asyncio.to_thread(server.create_room, f"{room}-{name}", members, **fields)
    guest, known = await connect(server.ws()), await connect(server.ws(), cookie=user.cookie)
    for name in ("closed", "members", "signed-in"):
        await eventually(lambda name=name: kept_out(guest, f"{room}-{name}"), f"the rule of {name}", SOON)
    await eventually(lambda: kept_out(known, f"{room}-closed"), "the rule on its worker", SOON)
    await joined(known, f"{room}-members")
    await joined(known, f"{room}-signed-in")


# --- leaving ------------------------------------------------------------------------------------------


async def test_who_left_hears_and_says_nothing_there(server, pair, connect, room):
    """After `left` no message of the room comes, none goes there, and it can be joined again."""
    there = await connect(server.ws(room))
    client = pair[0]
    await joined(client, room)
    await left(client, room)
    await refused(client, {"type": "chat", "room": room, "data": {"content": "x"}}, "not_in_room")
    await there.send_chat("among us")
    await all_heard(server, client, there)
    await client.nothing(type="chat", room=room)
    await refused(client, {"type": "leave", "room": room}, "not_in_room")
    await joined(client, room)
    await client.send_chat("back", room=room)
    await there.expect(type="chat", from_=client.id, data={"content": "back"})


async def test_the_endpoints_own_room_can_be_left(server, connect, room):
    """The socket lives on in its other rooms; without a room named, a message has nowhere to go, until
    the room is joined again."""
    client, there = await connect(server.ws(room)), await connect(server.ws(room))
    await joined(client, f"{room}-2")
    await left(client, room)
    await there.expect(type="presence", from_=client.id, data={"status": "offline"})
    await refused(client, {"type": "chat", "data": {"content": "nowhere"}}, "not_in_room")
    await there.send_chat("without you")
    await all_heard(server, client, there)
    await client.nothing(type="chat", data={"content": "without you"})
    await client.send_chat("here", room=f"{room}-2")
    await client.expect(type="chat", room=f"{room}-2")
    await joined(client, room)
    await there.expect(type="presence", from_=client.id, data={"status": "online"})
    await client.send_chat("again")
    await there.expect(type="chat", room=room, data={"content": "again"})


# --- presence, counts, lists --------------------------------------------------------------------------


async def test_presence_is_told_in_each_room(server, pair, connect, room):
    """`online` when a room is joined, `offline` when it is left; in every room when the line is cut."""
    names = [f"{room}-{number}" for number in range(3)]
    watchers = [await connect(server.ws(name)) for name in names]
    client = await connect(server.ws(names[0], "name=Ada"))
    for name in names[1:]:
        await joined(client, name)
    for name, watcher in zip(names, watchers, strict=True):
        frame = await watcher.expect(type="presence", room=name, from_=client.id)
        assert frame["data"] == {"status": "online", "name": "Ada"}
    await left(client, names[1])
    await watchers[1].expect(type="presence", room=names[1], data={"status": "offline"})
    client.abort()
    for number in (0, 2):
        await watchers[number].expect(
            type="presence", room=names[number], from_=client.id, data={"status": "offline"}
        )
    await all_heard(server, *watchers)
    for watcher in watchers:
        assert len(await watcher.all(type="presence", from_=client.id)) == 2


async def test_operators_see_all_rooms_of_a_connection(server, pair, room):
    """`rooms`, `members` and `connections` count joined rooms; a filter by room finds them."""
    client, other = pair
    for number in range(2):
        await joined(client, f"{room}-{number}")
    await joined(other, f"{room}-0")
    counts: dict[str, int] = {}
    for answer in await ask(server, "rooms"):
        for name, members in answer["rooms"].items():
            counts[name] = counts.get(name, 0) + members
    assert (counts[f"{room}-0"], counts[f"{room}-1"]) == (2, 1)
    found = [
        connection
        for answer in await ask(server, "connections", room=f"{room}-1")
        for connection in answer["connections"]
    ]
    assert [connection["id"] for connection in found] == [client.id]
    assert (found[0]["room"], found[0]["rooms"]) == (None, [f"{room}-0", f"{room}-1"])
    members = [
        member["id"]
        for answer in await ask(server, "members", room=f"{room}-0")
        for member in answer["members"]
    ]
    assert sorted(members) == sorted([client.id, other.id])
    said = await asyncio.to_thread(server.command, "chat_connections", "--room", f"{room}-1")
    assert client.id in said.stdout


async def test_closing_a_room_by_command_leaves_the_sockets_of_those_who_joined_it(
    server, pair, connect, room
):
    """Those at its endpoint are closed (4510); who joined it beside another is told `left`, with a reason."""
    at_home = await connect(server.ws(room))
    for client in pair:
        await joined(client, room)
    said = await asyncio.to_thread(server.command, "chat_close", "--room", room)
    assert said.stdout == "Closed 1 connection, and 2 connections left the room, on 2 workers.\n", said
    assert (await at_home.closed())[0] == 4510
    for client in pair:
        frame = await client.expect(type="system", room=room, data={"event": "left"})
        assert frame["data"] == {"event": "left", "room": room, "reason": "closed_by_administrator"}
        await refused(client, {"type": "chat", "room": room, "data": {"content": "x"}}, "not_in_room")


# --- rights that change -------------------------------------------------------------------------------


async def test_who_may_not_stay_leaves_the_joined_room_and_no_other(server, pair, connect, room):
    """A room that is closed: within 2 seconds, on both workers, `left` with its reason; at the room's own
    endpoint 4503, and who has left that room before stays connected."""
    at_home, gone = await connect(server.ws(room)), await connect(server.ws(room))
    await joined(gone, f"{room}-2")
    await left(gone, room)
    for client in pair:
        await joined(client, room)
        await joined(client, f"{room}-2")
    await asyncio.to_thread(server.create_room, room, closed=True)
    for client in pair:
        frame = await client.expect(SOON, type="system", room=room, data={"event": "left"})
        assert frame["data"] == {"event": "left", "room": room, "reason": "access_withdrawn"}
    assert (await at_home.closed(SOON))[0] == 4503
    await gone.send_chat("still here", room=f"{room}-2")
    for client in (*pair, gone):
        await client.expect(type="chat", data={"content": "still here"})
        await refused(client, {"type": "join", "room": room}, "forbidden")


# --- full rooms, lost workers -------------------------------------------------------------------------


async def test_a_full_room_takes_five_whichever_way_they_come(start_server, redis, connect, room):
    """Of twelve who join at once on two workers exactly five get in, the others are told `room_full`; a
    place is free again when one has left or is gone."""
    server: ChatServer = await asyncio.to_thread(start_server, redis.url, workers=2)
    await asyncio.to_thread(server.change_settings, max_room_members=5, send_buffer=99)

    async def in_force() -> bool:
        found = await on_each_worker(server, lambda: connect(server.ws()))
        return all(client.welcome["data"]["limits"]["send_buffer"] == 99 for client in found)

    await eventually(in_force, "the settings", SOON + 2)
    clients = [*await on_each_worker(server, lambda: connect(server.ws()))]
    clients += [await connect(server.ws()) for _ in range(10)]

    async def inside(client: Client) -> bool:
        await client.send({"type": "join", "id": "in", "room": room})
        while True:
            frame = await client.next()
            if frame["data"].get("ref") == "in":
                assert frame["data"].get("code", "room_full") == "room_full"
                assert frame["type"] == "system" or frame["data"]["retry_after"] > 0
                return bool(frame["type"] == "system")

    results = await asyncio.gather(*[inside(client) for client in clients])
    members = [client for client, entered in zip(clients, results, strict=True) if entered]
    others = [client for client, entered in zip(clients, results, strict=True) if not entered]
    assert (len(members), len(others)) == (5, 7)
    await left(members.pop(), room)
    members.pop().abort()
    for _ in range(2):
        await eventually(lambda: inside(others[0]), "a free place")
        members.append(others.pop(0))
    assert not any(await asyncio.gather(*[inside(client) for client in others]))


async def test_a_killed_workers_members_are_offline_in_each_joined_room(start_server, redis, connect, room):
    """The other worker says it in every room, once."""
    server: ChatServer = await asyncio.to_thread(start_server, redis.url, workers=2)
    watcher, lost = await on_each_worker(server, lambda: connect(server.ws()))
    names = [f"{room}-{number}" for number in range(2)]
    for name in names:
        await joined(watcher, name)
        await joined(lost, name)
        await watcher.expect(type="presence", room=name, from_=lost.id, data={"status": "online"})
    pids = {answer["worker"]: answer["pid"] for answer in await ask(server, "stats")}
    server.signal(9, pids[lost.worker])
    for name in names:
        await watcher.expect(12, type="presence", room=name, from_=lost.id, data={"status": "offline"})
    await watcher.round_trip()
    assert len(await watcher.all(type="presence", data={"status": "offline"})) == 2


async def test_one_process_does_the_same(memory_server, connect, room):
    """On the in-memory layer: join, talk, presence, leave."""
    ada, bob = await connect(memory_server.ws()), await connect(memory_server.ws(room))
    await joined(ada, room, members=True)
    await ada.expect(type="system", data={"event": "members"})
    await bob.expect(type="presence", from_=ada.id, data={"status": "online"})
    await ada.send_chat("hello", room=room)
    await bob.expect(type="chat", from_=ada.id)
    await left(ada, room)
    await bob.expect(type="presence", from_=ada.id, data={"status": "offline"})


# --- what can go wrong --------------------------------------------------------------------------------


async def test_a_join_without_redis_is_unavailable_and_leaves_nothing(start_server, own_redis, connect, room):
    """While Redis is frozen a `join` is `unavailable` within its deadline and the socket lives on; when Redis
    is back the room has its members, and nobody else is counted."""
    server: ChatServer = await asyncio.to_thread(start_server, own_redis.url, workers=2)
    clients = await on_each_worker(server, lambda: connect(server.ws()))
    await joined(clients[0], f"{room}-kept")
    own_redis.freeze()
    try:
        for client in clients:
            told = await refused(client, {"type": "join", "room": room}, "unavailable")
            assert told["retry_after"] > 0
            await refused(client, {"type": "chat", "room": room, "data": {"content": "x"}}, "not_in_room")
    finally:
        own_redis.thaw()

    async def can_join() -> bool:
        await clients[0].send({"type": "join", "id": "again", "room": room})
        while (frame := await clients[0].next())["data"].get("ref") != "again":
            pass
        return bool(frame["type"] == "system")

    await eventually(can_join, "a join", 10)

    async def counted() -> bool:
        with own_redis.client() as keys:
            counts = keys.hgetall(f"chat:census:{room_group(room)}")
        return list(counts.values()) == ["1"]

    await eventually(counted, "one member", 10)
    await clients[0].send_chat("still here", room=f"{room}-kept")
    await clients[0].expect(type="chat", room=f"{room}-kept")


async def test_rooms_that_were_joined_and_left_leave_nothing_behind(start_server, own_redis, connect, room):
    """However they end (leave, goodbye, cut): no group, no count, no list of members stays on a worker or in
    Redis."""
    server: ChatServer = await asyncio.to_thread(start_server, own_redis.url, workers=2)

    async def state() -> tuple[list[dict], list[str]]:
        rooms = [answer["rooms"] for answer in await ask(server, "rooms")]
        with own_redis.client() as keys:
            channels = [name for name in keys.pubsub_channels() if "room" in name]
            return rooms, [name for name in keys.keys("*census*") if "room" in name] + channels

    for end in ("leave", "goodbye", "cut"):
        clients = await on_each_worker(server, lambda: connect(server.ws()))
        for client in clients:
            for number in range(5):
                await joined(client, f"{room}-{number}", members=True)
        for client in clients:
            if end == "leave":
                for number in range(5):
                    await left(client, f"{room}-{number}")
            elif end == "goodbye":
                await client.close()
            else:
                client.abort()

        async def nothing() -> bool:
            return await state() == ([{}, {}], [])

        await eventually(nothing, f"nothing left after: {end}", 10)


class SideBySide(GlobalChatConsumer):
    """Its handlers run beside each other."""

    concurrency = 5


async def test_joins_beside_each_other_are_one_membership(layer, room):
    """A consumer whose handlers run at the same time: the same room five times is one place, and the limit
    on rooms holds exactly."""
    before = config.current().max_rooms
    config.apply(max_rooms=3)
    socket = WebsocketCommunicator(SideBySide.as_asgi(), "/api/chat-api/ws")
    socket.scope["user"] = AnonymousUser()
    try:
        assert (await socket.connect(timeout=5))[0]
        ident = (await socket.receive_json_from(5))["data"]["client_id"]
        for _ in range(5):
            await socket.send_json_to({"type": "join", "id": "same", "room": room})
        for _ in range(5):
            assert (await socket.receive_json_from(5))["data"]["event"] == "joined"
        for number in range(5):
            await socket.send_json_to({"type": "join", "id": "more", "room": f"{room}-{number}"})
        answers = [(await socket.receive_json_from(5))["data"] for _ in range(5)]
        assert (
            sorted(answer.get("code", "joined") for answer in answers)
            == ["joined"] * 2 + ["too_many_rooms"] * 3
        )
        hub = get_hub()
        assert len(hub.connections[ident].all_rooms()) == 3
        assert census_of(hub).counted[room_group(room)] == 1
        await socket.disconnect()
        assert room_group(room) not in census_of(hub).counted
        assert room_group(room) not in hub.groups
    finally:
        config.apply(max_rooms=before)


# --- what operators see of it -------------------------------------------------------------------------


async def test_the_admin_shows_joined_rooms_and_closes_them(server, pair, connect, room):
    """The live page finds a connection by any of its rooms and says how many more it has; closing everybody
    in a room closes its own sockets and only ends the memberships of others, and says so."""
    operator = await asyncio.to_thread(Operator, server, "view_live", "manage_live")
    for number in range(3):
        await joined(pair[0], f"{room}-{number}")
    at_home = await connect(server.ws(f"{room}-1"))
    assert sorted(operator.rows(room=f"{room}-1")) == sorted([pair[0].id, at_home.id])
    page = words(operator.get(f"/admin/chat/live/now/?room={room}-2")[1])
    assert f"{room}-0 +2" in page
    operator.post("/admin/chat/live/close/", room=f"{room}-1", confirmed="yes")
    said = words(operator.get()[1])
    assert "Closed 1 connection, and 1 connection left the room, on 2 workers." in said or (
        "Closed 1 connection, and 1 connection left the room, on 1 worker." in said
    )
    assert (await at_home.closed())[0] == 4510
    await pair[0].expect(type="system", room=f"{room}-1", data={"event": "left"})
    await pair[0].round_trip()


async def test_who_joined_a_room_may_list_its_members(server, connect, room):
    """`GET rooms/{room}` is for staff and for those who are in it, by whichever way."""
    ada = await asyncio.to_thread(server.create_user, f"lists-{room}")
    path = f"/api/chat-api/rooms/{room}"
    client = await connect(server.ws(), cookie=ada.cookie)
    assert (await asyncio.to_thread(server.get, path, Cookie=ada.cookie))[0] == 403
    await joined(client, room)
    status, _, body = await asyncio.to_thread(server.get, path, Cookie=ada.cookie)
    assert status == 200
    assert [member["id"] for member in json.loads(body)["members"]] == [client.id]
    await left(client, room)
    assert (await asyncio.to_thread(server.get, path, Cookie=ada.cookie))[0] == 403


# --- the whole, against a model -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_order_they_come_and_go_in_each_hears_what_is_said_in_its_rooms(
    server, connect, room, seed
):
    """Six clients on two workers, with and without a room of their own, join, leave and talk in a random
    order: each hears exactly what was said in the rooms that it was in at that moment, once and in order,
    and the workers' lists agree."""
    dice = random.Random(seed)
    names = [f"{room}-{number}" for number in range(3)]
    clients = [
        *await on_each_worker(server, lambda: connect(server.ws())),
        *await on_each_worker(server, lambda: connect(server.ws(names[0]))),
        *await on_each_worker(server, lambda: connect(server.ws(names[1]))),
    ]
    inside = {
        client: set() if number < 2 else {names[number // 2 - 1]} for number, client in enumerate(clients)
    }
    heard: dict[Client, list[str]] = {client: [] for client in clients}
    for step in range(60):
        client, name = dice.choice(clients), dice.choice(names)
        if name not in inside[client]:
            await joined(client, name)
            inside[client].add(name)
        elif dice.random() < 0.4:
            await left(client, name)
            inside[client].discard(name)
        else:
            words = f"{step} in {name}"
            await client.send_chat(words, room=name)
            for other in clients:
                if name in inside[other]:
                    await other.expect(type="chat", room=name, data={"content": words})
                    heard[other].append(words)
    await all_heard(server, *clients)
    for client in clients:
        said = [frame["data"]["content"] for frame in await client.all(type="chat") if frame["room"]]
        assert said == heard[client]
    counts: dict[str, int] = {}
    for answer in await ask(server, "rooms"):
        for name in names:
            counts[name] = counts.get(name, 0) + answer["rooms"].get(name, 0)
    assert counts == {name: sum(name in rooms for rooms in inside.values()) for name in names}
