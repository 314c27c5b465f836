"""How many connections, and how fast: N are accepted and one more is refused, exactly, over two workers."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from websockets.exceptions import InvalidStatus

from chat.realtime.testing.raw import Response
from chat.realtime.testing.workers import ask, pids
from tests.kit import ChatServer, Client, RawSocket, RedisServer, eventually

PATH = "/api/chat-api/ws"
GONE = 12.0  # seconds until a killed worker's connections are counted no more
Open = Callable[[], Awaitable[Client]]


@pytest.fixture(scope="module")
def limits_redis() -> Iterator[RedisServer]:
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


def database(redis: RedisServer, number: int) -> str:
    """One of the Redis' databases: servers with different ones don't share their counts."""
    return f"{redis.url.removesuffix('/0')}/{number}"


def serving(redis_url: str, **env: str) -> Iterator[ChatServer]:
    server = ChatServer(redis_url, workers=2, env=env).start()
    try:
        yield server
    finally:
        server.stop()
        server.cleanup()


@pytest.fixture(scope="module")
def limited(limits_redis: RedisServer) -> Iterator[ChatServer]:
    """Behind a proxy, so that each test has addresses of its own; 10 connections an address, 3 a user."""
    yield from serving(
        database(limits_redis, 1),
        TRUSTED_PROXIES="1",
        MAX_CONNECTIONS="0",
        MAX_CONNECTIONS_PER_ADDRESS="10",
        MAX_CONNECTIONS_PER_USER="3",
    )


@pytest.fixture(scope="module")
def small(limits_redis: RedisServer) -> Iterator[ChatServer]:
    """Without a proxy; 10 connections in all."""
    yield from serving(database(limits_redis, 2), MAX_CONNECTIONS="10")


async def status(server: ChatServer, path: str = PATH, **headers: str) -> Response:
    """What a handshake gets; an accepted one is closed at once."""
    raw = await RawSocket.open(server.port)
    try:
        return await raw.handshake(path, **headers)
    finally:
        await raw.close()


async def fill(open_one: Open, count: int) -> list[Client]:
    """``count`` connections one after the other, on both workers."""
    while True:
        clients = [await open_one() for _ in range(count)]
        if len({client.worker for client in clients}) == 2:
            return clients
        for client in clients:
            await client.close()


async def opened(open_one: Open) -> Client:
    """A connection, as soon as there is a place."""

    async def try_it() -> Client | None:
        try:
            return await open_one()
        except InvalidStatus as refusal:
            if refusal.response.status_code not in (429, 503):
                raise
            return None

    return await eventually(try_it, "a place", GONE)


def assert_refused(answer: Response, code: int, reason: str) -> None:
    assert (answer.status, answer.code) == (code, reason)
    assert 1 <= int(answer.headers["retry-after"]) <= 10


async def assert_limit(
    server: ChatServer, open_one: Open, count: int, code: int, reason: str, path: str = PATH, **headers: str
) -> None:
    """``count`` are accepted and one more refused, as handshake and as plain GET; a place left is a place."""
    clients = await fill(open_one, count)
    assert_refused(await status(server, path, **headers), code, reason)
    asked = await asyncio.to_thread(server.get, path, **headers)
    assert asked[0] == code
    assert f'"{reason}"'.encode() in asked[2]
    assert int(asked[1]["retry-after"]) >= 1
    await clients[0].close()
    await opened(open_one)
    assert_refused(await status(server, path, **headers), code, reason)
    for client in clients[1:]:
        await client.round_trip()


# --- one limit each -----------------------------------------------------------------------------------


async def test_connections_in_all(small, connect):
    """Of all connections, in rooms and in none, the tenth is accepted and the eleventh gets 503."""
    await assert_limit(small, lambda: connect(small.ws()), 10, 503, "server_full")
    assert_refused(await status(small, PATH + "/lobby"), 503, "server_full")


async def test_connections_of_an_address(limited, connect):
    """Ten of one address are accepted on both workers; another address is served all the while."""
    ours, theirs = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
    await assert_limit(
        limited, lambda: connect(limited.ws(), headers=ours), 10, 429, "too_many_connections", **ours
    )
    await (await connect(limited.ws(), headers=theirs)).round_trip()


async def test_connections_of_a_user(limited, connect):
    """Three of one user are accepted from wherever they come; anonymous ones are not counted as a user's."""
    user = await asyncio.to_thread(limited.create_user, "ada")
    addresses = iter(range(1000))

    def signed_in() -> Awaitable[Client]:
        number = next(addresses)
        forwarded = {"X-Forwarded-For": f"198.51.{number // 250}.{number % 250}"}
        return connect(limited.ws(), cookie=user.cookie, headers=forwarded)

    headers = {"Cookie": user.cookie, "Origin": limited.origin}
    await assert_limit(limited, signed_in, 3, 429, "too_many_connections", **headers)
    for _ in range(4):
        await connect(limited.ws(), headers={"X-Forwarded-For": "198.51.100.99"})


async def test_connections_of_a_worker(limits_redis, start_server, connect):
    """Each worker takes two: the fifth connection is refused by both, whichever is asked."""
    env = {"MAX_CONNECTIONS_PER_WORKER": "2"}
    server = start_server(database(limits_redis, 9), workers=2, env=env)
    clients = [await opened(lambda: connect(server.ws())) for _ in range(4)]
    assert sorted(client.worker for client in clients) == sorted(2 * [*{c.worker for c in clients}])
    for _ in range(8):
        assert_refused(await status(server), 503, "server_full")
    await clients[0].close()
    assert (await opened(lambda: connect(server.ws()))).worker == clients[0].worker
    assert_refused(await status(server), 503, "server_full")


async def test_members_of_a_room(limits_redis, start_server, connect):
    """A room's limit refuses with 429 beside the others: the sixth member is one too many, elsewhere not."""
    server = start_server(database(limits_redis, 8), workers=2)
    server.change_settings(max_room_members=5, send_buffer=99)

    told: set[str] = set()

    async def in_force() -> bool:
        client = await Client.connect(server.ws())
        await client.close()
        if client.welcome["data"]["limits"]["send_buffer"] == 99:
            told.add(client.worker)
        return len(told) == 2

    await eventually(in_force, "the setting on both workers", 10)
    await assert_limit(server, lambda: connect(server.ws("tea")), 5, 429, "room_full", path=PATH + "/tea")
    await connect(server.ws("coffee"))


async def test_handshakes_a_second(limits_redis, start_server):
    """Ten seconds' worth of handshakes of one address are accepted at once, the next is refused until the
    second that it is told has passed; a plain GET counts too, and other addresses are served."""
    env = {"CONNECT_RATE": "1", "TRUSTED_PROXIES": "1"}
    server = start_server(database(limits_redis, 7), workers=1, env=env)
    ours, theirs = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}

    async def eleven() -> list[int] | None:
        """The answers to eleven at once; None where that took so long that another one may come."""
        began = time.monotonic()
        answers = await asyncio.gather(*[status(server, **ours) for _ in range(9)])
        found = [answer.status for answer in answers]
        found.append((await asyncio.to_thread(server.get, PATH, **ours))[0])
        found.append((await status(server, **ours)).status)
        if time.monotonic() - began < 0.9:
            return found
        ours["X-Forwarded-For"] += "0"
        return None

    assert await eventually(eleven, "eleven handshakes in a second", 30) == [101] * 9 + [426, 429]
    refused = await status(server, **ours)
    assert_refused(refused, 429, "too_many_connections")
    assert refused.headers["retry-after"] == "1"
    assert (await status(server, **theirs)).status == 101

    async def again() -> bool:
        return (await status(server, **ours)).status == 101

    await eventually(again, "the next second")


async def test_handshakes_a_second_over_two_workers(limits_redis, start_server):
    """Ten at once of one address, on both workers, are accepted; the eleventh is refused on either, although
    each worker by itself has seen fewer. Each handshake is one question to Redis."""
    env = {"CONNECT_RATE": "1", "TRUSTED_PROXIES": "1"}
    server = start_server(database(limits_redis, 10), workers=2, env=env)
    addresses = iter(range(1, 100))

    async def ten() -> dict[str, str] | None:
        """An address of which ten were accepted, on both workers, and six more refused, within a second."""
        ours = {"X-Forwarded-For": f"203.0.113.{next(addresses)}"}
        clients: list[Client] = []
        began = time.monotonic()
        try:
            clients = await asyncio.gather(*[Client.connect(server.ws(), headers=ours) for _ in range(10)])
            answers = [await status(server, **ours) for _ in range(6)]
            if time.monotonic() - began > 0.9 or len({client.worker for client in clients}) < 2:
                return None
        finally:
            for client in clients:
                await client.close()
        for answer in answers:
            assert_refused(answer, 429, "too_many_connections")
            assert answer.headers["retry-after"] == "1"
        return ours

    ours = await eventually(ten, "ten handshakes in a second, on both workers", 30)

    async def again() -> bool:
        return (await status(server, **ours)).status == 101

    await eventually(again, "the next second")
    with limits_redis.client() as client, client.monitor() as watch:
        theirs = {"X-Forwarded-For": "198.51.100.1"}
        assert (await status(server, **theirs)).status == 101
        client.echo("done")
        seen = []
        while "done" not in (command := watch.next_command()["command"]):
            seen.append(command)
    entered = [command for command in seen if "EVALSHA" in command and ":rate:realtime.address." in command]
    assert len(entered) == 1
    assert ":census:realtime.everybody" in entered[0]
    assert "198.51.100.1" not in entered[0]


# --- all at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [PATH, PATH + "/crowd"])
async def test_simultaneous_handshakes(limited, path):
    """Of fifty handshakes in the same moment exactly ten are accepted, in a room and without one."""
    headers = {"X-Forwarded-For": f"192.0.2.{len(path)}"}
    raws = [await RawSocket.open(limited.port) for _ in range(50)]
    try:
        answers = await asyncio.gather(*[raw.handshake(path, **headers) for raw in raws])
        assert sorted(answer.status for answer in answers) == [101] * 10 + [429] * 40
    finally:
        for raw in raws:
            await raw.close()

    async def all_left() -> bool:
        return await counted(limited) == []

    await eventually(all_left, "no count is left behind")


async def test_a_refused_handshake_is_counted_nowhere(limited, connect):
    """A user who is one too many takes no place of their address: ten others still find theirs."""
    user = await asyncio.to_thread(limited.create_user, "bob")
    ours = {"X-Forwarded-For": "203.0.113.50"}
    for number in range(3):
        await connect(
            limited.ws(), cookie=user.cookie, headers={"X-Forwarded-For": f"203.0.113.{60 + number}"}
        )
    cookie = {"Cookie": user.cookie, "Origin": limited.origin}
    for _ in range(5):
        assert_refused(await status(limited, **ours, **cookie), 429, "too_many_connections")
    for _ in range(10):
        await connect(limited.ws(), headers=ours)
    assert_refused(await status(limited, **ours), 429, "too_many_connections")


# --- whose address ------------------------------------------------------------------------------------


async def test_a_forwarded_address_without_a_proxy_is_nobody_s(limits_redis, start_server, connect):
    """Without trusted proxies the header changes nothing: its sender stays the address that it is."""
    env = {"MAX_CONNECTIONS_PER_ADDRESS": "2"}
    server = start_server(database(limits_redis, 6), workers=2, env=env)
    for number in range(2):
        await connect(server.ws(), headers={"X-Forwarded-For": f"203.0.113.{number}"})
    answer = await status(server, **{"X-Forwarded-For": "203.0.113.77"})
    assert_refused(answer, 429, "too_many_connections")


async def test_what_a_client_puts_before_the_proxy_s_word(limited, connect):
    """Behind one proxy the last address counts; what stands before it is the client's own word."""
    for number in range(10):
        await connect(limited.ws(), headers={"X-Forwarded-For": f"10.9.8.{number}, 203.0.113.90"})
    escape = {"X-Forwarded-For": "10.9.8.200, 203.0.113.90"}
    assert_refused(await status(limited, **escape), 429, "too_many_connections")


async def test_a_network_of_ipv6_addresses_is_one_address(limited, connect):
    """Who has 2^64 addresses to choose from is counted by the network that they are of."""
    for number in range(10):
        await connect(limited.ws(), headers={"X-Forwarded-For": f"2001:db8:1:2::{number:x}"})
    assert_refused(
        await status(limited, **{"X-Forwarded-For": "2001:db8:1:2:ffff::1"}), 429, "too_many_connections"
    )
    await connect(limited.ws(), headers={"X-Forwarded-For": "2001:db8:1:3::1"})


async def test_no_address_reaches_redis(limited, limits_redis, connect):
    """The counts' names are hashes: neither an address nor what stands in its place is in a key of Redis."""
    for word in ("203.0.113.123", "nonsense", "ünïcode"):
        await connect(limited.ws(), headers={"X-Forwarded-For": word})
    with limits_redis.client() as client:
        client.execute_command("SELECT", 1)
        keys = client.keys("*")
    assert any(":census:realtime.address." in key for key in keys)
    for key in keys:
        assert "203.0.113" not in key
        assert "nonsense" not in key
        assert key.isascii()


# --- while it runs ------------------------------------------------------------------------------------


async def test_a_limit_that_is_set_while_connections_are_open(limits_redis, start_server, connect):
    """Who was there before there was a limit is counted: with four of three nobody comes in, until two left;
    nobody is put out, and taking the limit away lets all in again."""
    env = {"MAX_CONNECTIONS_PER_ADDRESS": "0", "MAX_CONNECTIONS": "0"}
    server = start_server(database(limits_redis, 5), workers=2, env=env)
    clients = await fill(lambda: connect(server.ws()), 4)
    server.change_settings(max_connections_per_address=3)

    async def refused() -> bool:
        return [(await status(server)).status for _ in range(6)] == [429] * 6

    await eventually(refused, "the limit on both workers", 4)
    await clients.pop().close()
    await eventually(refused, "three of three")
    await clients.pop().close()
    clients.append(await opened(lambda: connect(server.ws())))
    assert_refused(await status(server), 429, "too_many_connections")
    for client in clients:
        await client.round_trip()
    server.change_settings(max_connections_per_address=0)

    async def open_to_all() -> bool:
        return [(await status(server)).status for _ in range(6)] == [101] * 6

    await eventually(open_to_all, "no limit on both workers", 4)


async def test_consumers_of_other_apps(limits_redis, start_server, connect):
    """The limits hold for every consumer, and are set in the admin where nobody comes to the chat."""
    url = database(limits_redis, 3)
    server = start_server(url, workers=2, settings="tests.settings", env={"CONNECT_RATE": "0"})
    server.change_settings(max_connections_per_address=3)
    path = "/test/unlimited"
    clients = []

    async def full() -> bool:
        try:
            clients.append(await connect(server.ws().replace(PATH, path), welcomed=False))
        except InvalidStatus as refusal:
            return refusal.response.status_code == 429
        return False

    await eventually(full, "a limit")
    while len(clients) > 3:  # some came before the limit
        await clients.pop().close()

    async def three() -> bool:
        return [(await status(server, path)).status for _ in range(6)] == [429] * 6

    await eventually(three, "three of three")
    await clients.pop().close()

    async def place() -> bool:
        return (await status(server, path)).status == 101

    await eventually(place, "a place")


async def test_what_operators_see_of_it(limits_redis, start_server, connect):
    """Refused handshakes are counted by code and leave a line in the log that names the address."""
    # A server of its own: refusals that others caused a moment ago would fold these lines.
    env = {"TRUSTED_PROXIES": "1", "MAX_CONNECTIONS_PER_ADDRESS": "10"}
    limited = start_server(database(limits_redis, 11), workers=2, env=env)
    ours = {"X-Forwarded-For": "203.0.113.200"}
    for _ in range(10):
        await connect(limited.ws(), headers=ours)
    limited.mark()
    before = sum(worker["refused"] for worker in await ask(limited, "stats"))
    for _ in range(3):
        await status(limited, **ours)
    assert sum(worker["refused"] for worker in await ask(limited, "stats")) == before + 3
    limited.wait_for_output(r"refused code=too_many_connections .*address=203\.0\.113\.200")


async def test_a_killed_worker_s_connections_are_counted_no_more(limits_redis, start_server, connect):
    """The places of a worker that was killed are free within seconds; those on the other one are not."""
    env = {"MAX_CONNECTIONS": "6"}
    server = start_server(database(limits_redis, 4), workers=2, env=env)
    clients = await fill(lambda: connect(server.ws()), 6)
    assert_refused(await status(server), 503, "server_full")
    gone = clients[0].worker
    stay = [client for client in clients if client.worker != gone]
    server.signal(signal.SIGKILL, (await pids(server))[gone])
    for _ in range(6 - len(stay)):
        await opened(lambda: connect(server.ws()))
    assert_refused(await status(server), 503, "server_full")
    for client in stay:
        await client.round_trip()


async def test_a_frozen_redis_lets_nobody_in_and_nobody_out(own_redis, start_server, connect):
    """While nobody can be counted, handshakes are refused in time, with and without a room; sockets live."""
    server = start_server(own_redis.url, workers=2)
    client = await connect(server.ws())
    own_redis.freeze()
    try:
        answers = await asyncio.gather(status(server), status(server, PATH + "/lobby"))
        assert [(answer.status, answer.code) for answer in answers] == [(503, "unavailable")] * 2
        await client.round_trip()
    finally:
        own_redis.thaw()
    await opened(lambda: connect(server.ws()))


async def counted(server: ChatServer) -> list[str]:
    """The names of what is counted in the server's Redis now."""
    code = """
import redis
from django.conf import settings
with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
    result = [key for key in client.keys("chat:1:census:*") if client.hlen(key)]
"""
    return await server.adjango(code)
