"""Who may join a room, how many, and what its name may be: rules of its row and of the settings."""

import asyncio
import secrets
from collections import Counter

import pytest
from websockets.exceptions import InvalidStatus

from tests.kit import ChatServer, Client, RawSocket, Response, eventually, on_each_worker

IN_FORCE = 2.0  # seconds within which a saved change holds on every worker
PATH = "/api/chat-api/ws/"


@pytest.fixture(scope="module")
def users(_server: ChatServer):
    """Two users of the shared server."""
    return [_server.create_user(f"rules-{secrets.token_hex(4)}") for _ in range(2)]


async def join(server: ChatServer, room: str, cookie: str | None = None, plain: bool = False) -> Response:
    """What a handshake, or a plain GET, is told."""
    headers = {} if cookie is None else {"Cookie": cookie, "Origin": server.origin}
    raw = await RawSocket.open(server.port)
    try:
        if plain:
            return await raw.handshake(PATH + room, **headers, Upgrade=None, Connection=None)
        return await raw.handshake(PATH + room, **headers)
    finally:
        await raw.close()


async def told(server: ChatServer, room: str, status: int, cookie: str | None = None) -> None:
    """Wait until every worker answers so: twelve handshakes in a row, which the kernel spreads."""

    async def all_are() -> bool:
        return {(await join(server, room, cookie)).status for _ in range(12)} == {status}

    await eventually(all_are, f"{status} for {room}", IN_FORCE)


# --- who may join -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "anonymous", "stranger", "member"),
    [
        ({}, 101, 101, 101),
        ({"access": "everyone"}, 101, 101, 101),
        ({"access": "signed_in"}, 403, 101, 101),
        ({"access": "members"}, 403, 403, 101),
        ({"closed": True}, 403, 403, 403),
        ({"access": "members", "closed": True}, 403, 403, 403),
    ],
    ids=["plain", "everyone", "signed-in", "members", "closed", "closed to members"],
)
async def test_a_room_admits_whom_its_row_says(server, users, room, fields, anonymous, stranger, member):
    """Everyone, signed-in users or members, or nobody: 403 `forbidden`, by handshake and by GET."""
    somebody, her = users
    server.create_room(room, members=(her.id,), **fields)
    if fields:
        await told(server, room, anonymous)
    for cookie, status in ((None, anonymous), (somebody.cookie, stranger), (her.cookie, member)):
        await told(server, room, status, cookie)
        plain = await join(server, room, cookie, plain=True)
        if status == 403:
            assert (plain.status, plain.code) == (403, "forbidden")
        else:
            assert plain.status == 426


async def test_the_query_is_no_way_round_a_rule(server, connect, room):
    """A closed room is closed by `?room=` too, and with a slash; neighbours of its name are open."""
    server.create_room(room, closed=True)
    await told(server, room, 403)
    for path in (f"{PATH}{room}/", f"{PATH[:-1]}?room={room}", f"{PATH}?room={room}"):
        raw = await RawSocket.open(server.port)
        response = await raw.handshake(path)
        await raw.close()
        assert (response.status, response.code) == (403, "forbidden")
    await connect(server.ws(room + "x"))
    await connect(server.ws(room[:-1]))


async def test_a_message_does_not_open_a_closed_room(server, connect, room):
    """Naming a room in a message does not reach it."""
    server.create_room(room, closed=True)
    await told(server, room, 403)
    client = await connect(server.ws())
    await client.send_chat("psst", room=room)
    await client.expect(type="error", data={"code": "not_in_room"})


async def test_a_room_opens_again(server, room):
    """A room that is opened, or whose row is deleted, lets people in within 2 seconds."""
    server.create_room(room, closed=True)
    await told(server, room, 403)
    server.change_room(room, closed=False)
    await told(server, room, 101)
    server.change_room(room, closed=True)
    await told(server, room, 403)
    server.django("from chat.models import Room; Room.objects.get(name=name).delete()", name=room)
    await told(server, room, 101)


# --- access withdrawn ---------------------------------------------------------------------------------


async def test_closing_a_room_puts_everybody_out(server, connect, users, room):
    """`closed`: 4503 on every worker within 2 seconds, members too; other rooms don't notice."""
    server.create_room(room, members=(users[0].id,))
    inside = await on_each_worker(server, lambda: connect(server.ws(room)))
    inside.append(await connect(server.ws(room), cookie=users[0].cookie))
    others = [await connect(server.ws(room + "-2")), await connect(server.ws())]
    server.change_room(room, closed=True)
    for client in inside:
        assert await client.closed(IN_FORCE) == (4503, "access to the room withdrawn")
    for client in others:
        await client.round_trip()


async def test_who_may_stay_stays(server, connect, users, room):
    """A room made members only puts out all others; who is taken out of its members is put out."""
    ada, bob = users
    server.create_room(room, members=(ada.id, bob.id))
    stay = await on_each_worker(server, lambda: connect(server.ws(room), cookie=ada.cookie))
    leave = await connect(server.ws(room), cookie=bob.cookie)
    guests = await on_each_worker(server, lambda: connect(server.ws(room)))
    server.change_room(room, access="members")
    for guest in guests:
        assert (await guest.closed(IN_FORCE))[0] == 4503
    await leave.round_trip()
    server.django(
        "from chat.models import Room; Room.objects.get(name=name).members.remove(user)",
        name=room,
        user=bob.id,
    )
    assert (await leave.closed(IN_FORCE))[0] == 4503
    for client in stay:
        await client.round_trip()
    await told(server, room, 403, bob.cookie)


# --- how many -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["redis", "memory"])
def small_server(request, redis):
    """A server whose rooms take five members: on two workers with Redis, or on one without."""
    server = ChatServer(redis.url, workers=2) if request.param == "redis" else ChatServer()
    server.change_settings(max_room_members=5)  # before it starts: so each worker has it from the beginning
    server.start()
    yield server
    server.stop()
    server.cleanup()


async def crowd(server: ChatServer, room: str, count: int) -> tuple[list[Client], list[Response]]:
    """``count`` clients that come at once: those who got in, and what the others were told."""
    came = await asyncio.gather(
        *(Client.connect(server.ws(room)) for _ in range(count)), return_exceptions=True
    )
    inside = [client for client in came if isinstance(client, Client)]
    refused = [error.response for error in came if isinstance(error, InvalidStatus)]
    assert len(inside) + len(refused) == count, came
    return inside, refused


async def test_a_full_room_refuses_more(small_server, room):
    """Of twelve who come at once over all workers exactly five get in; the others are told 429."""
    inside, refused = await crowd(small_server, room, 12)
    assert len(inside) == 5
    for response in refused:
        assert response.status_code == 429
        assert b'"room_full"' in response.body
        assert int(response.headers["Retry-After"]) > 0
    plain = await join(small_server, room, plain=True)
    assert (plain.status, plain.code) == (429, "room_full")
    elsewhere, _ = await crowd(small_server, room + "-2", 5)
    assert len(elsewhere) == 5
    await asyncio.gather(*(client.close() for client in inside + elsewhere))


async def test_a_place_is_free_when_somebody_has_gone(small_server, room):
    """Goodbye or a cut line: exactly as many places are free as people went."""
    inside, _ = await crowd(small_server, room, 5)
    for leaving in (1, 2, 5):
        for number in range(leaving):
            client = inside.pop()
            if number % 2:
                client.abort()
            else:
                await client.close()

        async def free() -> bool:
            return (await join(small_server, room, plain=True)).status == 426

        await eventually(free, "a free place")
        while len(inside) < 5:
            more, _ = await crowd(small_server, room, 3)
            inside += more
        assert len(inside) == 5
    await asyncio.gather(*(client.close() for client in inside))


async def test_the_global_endpoint_is_no_room(small_server, room):
    """The limit is for rooms."""
    clients = await asyncio.gather(*(Client.connect(small_server.ws()) for _ in range(8)))
    await asyncio.gather(*(client.close() for client in clients))


# --- names --------------------------------------------------------------------------------------------


async def test_the_settings_pattern_names_the_rooms_there_are(start_server, redis):
    """`room_pattern` must match the whole name, else 404 `invalid_room`; empty allows all names again."""
    server = start_server(redis.url, workers=2)
    await told(server, "lobby2", 101)
    server.change_settings(room_pattern="lobby|team-[a-z]+")
    await told(server, "lobby2", 404)
    seen = Counter()
    for name in ("lobby", "team-red", "team-", "a-lobby", "lobbyteam-a", "LOBBY", "lobby%0A"):
        response = await join(server, name)
        seen[response.status] += 1
        if response.status == 404:
            assert response.code == "invalid_room"
    assert seen == {101: 2, 404: 5}
    server.change_settings(room_pattern="")
    await told(server, "lobby2", 101)
