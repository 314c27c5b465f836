"""How much one client may send: N messages are accepted and one more is refused, exactly; who goes on is
closed; and nobody else notices."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from chat.realtime.allowance import MOST_REFUSED
from chat.realtime.testing.raw import BINARY, CONTINUATION, PING, PONG, frame
from chat.realtime.testing.workers import ask
from tests.kit import ChatServer, Client, RedisServer, User, eventually, on_each_worker

BURST = 30
RATE = 1  # a second: a burst is over before the next one may come


@pytest.fixture(scope="module")
def limits_redis() -> Iterator[RedisServer]:
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


@pytest.fixture(scope="module")
def limited(limits_redis: RedisServer) -> Iterator[ChatServer]:
    """Two workers; a connection may send 30 messages at once and one a second."""
    env = {"MESSAGE_RATE": str(RATE), "MESSAGE_BURST": str(BURST), "BYTES_RATE": "0"}
    server = ChatServer(limits_redis.url, workers=2, env=env, settings="tests.settings").start()
    try:
        yield server
    finally:
        server.stop()
        server.cleanup()


def chats(count: int, kind: str = "chat") -> list[str]:
    return [
        json.dumps({"type": kind, "id": f"m{number}", "data": {"content": str(number)}})
        for number in range(count)
    ]


async def send_all(client: Client, messages: list[str]) -> None:
    """Send so that they arrive in one moment."""
    for message in messages:
        await client.socket.send(message)


async def answers(client: Client, count: int) -> list[tuple[str, str]]:
    """The next ``count`` answers of a client's own: (``ack`` or an error's code, ref)."""
    found = []
    while len(found) < count:
        frame = await client.next()
        if frame["type"] == "ack":
            found.append(("ack", frame["data"]["ref"]))
        elif frame["type"] == "error":
            found.append((frame["data"]["code"], frame["data"]["ref"]))
    return found


# --- a connection's messages --------------------------------------------------------------------------


async def test_a_burst_is_accepted_and_one_more_refused(limited, connect, room):
    """Thirty messages at once are taken, the next is answered with ``rate_limited``, its ref and when to
    come again; who waits so long is served, and the socket has lived on all the while."""
    client = await connect(limited.ws(room))
    await send_all(client, chats(BURST + 1))
    found = {ref: answer for answer, ref in await answers(client, BURST + 1)}
    assert [found[f"m{number}"] for number in range(BURST)] == ["ack"] * BURST
    assert found[f"m{BURST}"] == "rate_limited"
    error = next(frame for frame in client.received if frame["type"] == "error")
    assert 0 < error["data"]["retry_after"] <= 1 / RATE

    async def taken() -> bool:
        await client.send_chat("again", id="again")
        return (await answers(client, 1)) == [("ack", "again")]

    await eventually(taken, "the next second")


async def test_every_message_counts(limited, connect):
    """Pings, unknown types, what is no JSON and binary frames are messages too."""
    client = await connect(limited.ws())
    kinds = ['{"type": "ping"}', '{"type": "nonsense"}', "{", b"\x00", '{"type": "pong"}']
    for number in range(BURST):
        await client.send(kinds[number % len(kinds)])
    await client.send('{"type": "ping", "id": "late"}')
    await client.expect(type="error", data={"code": "rate_limited", "ref": "late"})


async def test_who_goes_on_is_closed(limited, connect, room):
    """Each refused message has its answer, a hundred times; one more closes the socket with 4429."""
    client, other = await connect(limited.ws(room)), await connect(limited.ws(room))
    await send_all(client, chats(BURST + MOST_REFUSED, "ping"))
    for _ in range(BURST):
        await client.expect(type="pong")
    for number in range(BURST, BURST + MOST_REFUSED):
        await client.expect(type="error", data={"code": "rate_limited", "ref": f"m{number}"})
    await send_all(client, chats(3, "ping"))
    assert await client.closed() == (4429, "too many messages")
    await other.round_trip()
    assert not [frame for frame in other.received if frame["type"] == "error"]


async def test_a_flood_is_bounded_and_counted(limited, connect, room):
    """Of two thousand messages a flood gets thirty through; it gets a hundred errors and its end, the log
    gets two lines, the counters know, and another connection of the same room is served meanwhile."""
    other = await connect(limited.ws(room))
    before = await limited_counts(limited)
    client = await connect(limited.ws(room))
    limited.mark()
    await send_all(client, chats(2000))
    assert (await client.closed())[0] == 4429
    errors = [frame for frame in client.received if frame["type"] == "error"]
    assert len(errors) == MOST_REFUSED
    await other.round_trip()
    heard = [frame for frame in other.received if frame["type"] == "chat"]
    assert len(heard) in (BURST, BURST + 1)  # one more where a second went by
    assert await limited_counts(limited) - before == MOST_REFUSED + 1
    lines = [line for line in limited.recent_output().splitlines() if client.id in line]
    assert len([line for line in lines if "rate_limited" in line]) == 1
    assert len([line for line in lines if "rate_exceeded" in line]) == 1


async def limited_counts(server: ChatServer) -> int:
    return sum(worker["rate_limited"] for worker in await ask(server, "stats"))


async def test_a_new_rate_is_in_force_at_once(limited, connect):
    """What is saved in the admin goes before the environment, for open sockets too; 0 is no limit, and an
    emptied field is the environment's again."""
    clients = await on_each_worker(limited, lambda: connect(limited.ws()))

    async def in_force(burst: int, rate: int) -> None:
        async def seen() -> bool:
            found = await on_each_worker(limited, lambda: Client.connect(limited.ws()))
            for client in found:
                await client.close()
            told = [client.welcome["data"]["limits"] for client in found]
            return {(each["message_burst"], each["message_rate"]) for each in told} == {(burst, rate)}

        await eventually(seen, "the new rate on both workers")

    limited.change_settings(message_burst=10)
    try:
        await in_force(10, RATE)
        client = await connect(limited.ws())
        await send_all(client, chats(11, "ping"))
        await client.take(10, type="pong")
        await client.expect(type="error", data={"code": "rate_limited", "ref": "m10"})
        limited.change_settings(message_rate=0)
        await in_force(10, 0)
        for client in clients:
            await send_all(client, chats(500, "ping"))
            await client.take(500, type="pong")
    finally:
        limited.change_settings(message_burst=None, message_rate=None)
        await in_force(BURST, RATE)


# --- bytes --------------------------------------------------------------------------------------------


async def test_bytes_a_second(limits_redis, start_server, connect):
    """Ten seconds' worth of bytes is accepted at once, counted as bytes and not as characters; beyond it a
    message is refused, a small one is still taken."""
    env = {"MESSAGE_RATE": "0", "BYTES_RATE": "10000"}
    server = start_server(f"{limits_redis.url.removesuffix('/0')}/3", workers=2, env=env)
    client = await connect(server.ws())
    for number in range(3):
        await client.send(big(number, 33_000))  # 99,000 of 100,000 bytes
    await client.send(big(3, 33_000))
    assert [kind for kind, _ in sorted(await answers(client, 4), key=lambda one: one[1])] == [
        "ack",
        "ack",
        "ack",
        "rate_limited",
    ]
    await client.round_trip()


def big(number: int, size: int) -> str:
    """A chat message of ``size`` bytes, most of them in characters of two."""
    message = json.dumps({"type": "chat", "id": str(number), "data": {"content": "@"}})
    return message.replace("@", "ü" * ((size - len(message)) // 2))


# --- a user's messages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def user_limited(limits_redis: RedisServer) -> Iterator[ChatServer]:
    """Two workers; a user may send 20 messages at once and one a second, on all connections."""
    env = {"MESSAGE_RATE": "0", "BYTES_RATE": "0", "USER_MESSAGE_RATE": "1", "USER_MESSAGE_BURST": "20"}
    url = f"{limits_redis.url.removesuffix('/0')}/2"
    server = ChatServer(url, workers=2, env=env).start()
    try:
        yield server
    finally:
        server.stop()
        server.cleanup()


async def signed_in(server: ChatServer, name: str) -> User:
    return await asyncio.to_thread(server.create_user, name)


async def test_a_user_s_messages_on_two_workers(user_limited, connect):
    """Of fifty messages that a user sends in one moment over four connections on two workers, twenty are
    accepted and thirty refused; another user and a visitor are served."""
    ada, bob = await signed_in(user_limited, "ada"), await signed_in(user_limited, "bob")

    async def sent(number: int) -> tuple[int, float]:
        """How many of fifty were accepted, and in how many seconds they were decided."""
        clients = await on_each_worker(
            user_limited, lambda: connect(user_limited.ws(f"r{number}"), cookie=ada.cookie)
        )
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*[send_all(client, chats(25)) for client in clients])
        found = [answer for client in clients for answer in await answers(client, 25)]
        assert {kind for kind, _ in found} == {"ack", "rate_limited"}
        assert {client.worker for client in clients} == set(await workers_of(user_limited))
        return [kind for kind, _ in found].count("ack"), asyncio.get_running_loop().time() - began

    accepted, took = await sent(1)
    assert 20 <= accepted <= 20 + took  # one more for each second that it took
    for cookie in (bob.cookie, None):
        client = await connect(user_limited.ws(), cookie=cookie)
        await send_all(client, chats(20))
        assert {kind for kind, _ in await answers(client, 20)} == {"ack"}


async def workers_of(server: ChatServer) -> list[str]:
    return [worker["worker"] for worker in await ask(server, "stats")]


async def test_a_user_who_goes_on_is_closed(user_limited, connect):
    """The connection that goes on is closed with 4429; the user's other one is not."""
    eve = await signed_in(user_limited, "eve")
    quiet = await connect(user_limited.ws(), cookie=eve.cookie)
    loud = await connect(user_limited.ws(), cookie=eve.cookie)
    await send_all(loud, chats(20 + MOST_REFUSED + 30, "ping"))
    assert (await loud.closed(15))[0] == 4429
    await quiet.send({"type": "ping", "id": "still-there"})
    frame = await quiet.next()
    assert frame["type"] in ("pong", "error")


async def test_without_redis_a_user_is_not_held_up(own_redis, start_server, connect):
    """While Redis is frozen nobody waits for it to count: what needs no Redis is served."""
    env = {"USER_MESSAGE_RATE": "1", "USER_MESSAGE_BURST": "5"}
    server = start_server(own_redis.url, workers=1, env=env)
    ada = await signed_in(server, "ada")
    client = await connect(server.ws(), cookie=ada.cookie)
    own_redis.freeze()
    try:
        await send_all(client, chats(10, "ping"))
        await client.take(10, limit=15, type="pong")
    finally:
        own_redis.thaw()


async def test_a_user_s_messages_in_memory(start_server, connect):
    """In one process without Redis the same holds."""
    env = {"USER_MESSAGE_RATE": "1", "USER_MESSAGE_BURST": "5"}
    server = start_server(None, env=env)
    ada = await signed_in(server, "ada")
    clients = [await connect(server.ws(), cookie=ada.cookie) for _ in range(2)]
    for client in clients:
        await send_all(client, chats(5))
    found = [kind for client in clients for kind, _ in await answers(client, 5)]
    assert found.count("ack") in (5, 6)


# --- a consumer's own ---------------------------------------------------------------------------------


async def test_a_rate_as_middleware(limited, connect):
    """``RateLimit("1/min", burst=5)``: the sixth message of a connection is refused, and of one that goes on
    the connection closed; another connection has its own."""
    url = limited.ws().replace("/api/chat-api/ws", "/test/counted")
    for _ in range(2):
        client = await connect(url, welcomed=False)
        await send_all(client, chats(6, "say"))
        await client.take(5, type="reply")
        error = await client.expect(type="error", data={"code": "rate_limited", "ref": "m5"})
        assert 50 < error["data"]["retry_after"] <= 60


async def test_a_consumer_without_the_settings_limits(limited, connect):
    """``limited = False`` takes a consumer out of them."""
    client = await connect(limited.ws().replace("/api/chat-api/ws", "/test/unlimited"), welcomed=False)
    await send_all(client, chats(10 * BURST, "say"))
    await client.take(10 * BURST, type="reply")


@pytest.mark.parametrize(
    "again",
    [
        frame(PING),
        frame(PONG),
        frame(BINARY, fin=False) + frame(CONTINUATION, fin=False) * 49_998 + frame(CONTINUATION),
    ],
    ids=["pings", "pongs", "fragments"],
)
async def test_what_is_no_message_is_limited_too(open_raw, limited, again):
    """A flood of pings, of pongs or of fragments ends with 4429, though no message is ever refused."""
    raw = await open_raw(limited)
    assert (await raw.handshake("/api/chat-api/ws/others-flood")).status == 101
    await raw.send(again * (100_000 * 6 // len(again) + 1))
    assert await raw.expect_close(30) == 4429
