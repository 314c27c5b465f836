"""On PostgreSQL, the database of production: everything that the service keeps there, and its faults."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.kit import ChatServer, Client, RedisServer, User, eventually, on_each_worker
from tests.postgres import PostgresServer
from tests.token_support import mint, post

MARK = 255  # a send buffer that tells the settings of these tests from the defaults


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    postgres = PostgresServer().start()
    yield postgres
    postgres.stop()
    postgres.cleanup()


@pytest.fixture(scope="module")
def on_postgres(redis: RedisServer, postgres: PostgresServer) -> Iterator[ChatServer]:
    """Two workers on a PostgreSQL that was empty."""
    server = ChatServer(redis.url.replace("/0", "/5"), workers=2, env={"DATABASE_URL": postgres.url})
    done = server.manage("migrate", "--noinput", limit=60)
    assert done.returncode == 0, done.stderr
    try:
        yield server.start()
    finally:
        server.stop()
        server.cleanup()


@pytest.fixture(scope="module")
def ada(on_postgres: ChatServer) -> User:
    return on_postgres.create_user("ada")


def test_the_migrations_are_complete(on_postgres):
    """Nothing is left to migrate, and the models say nothing else than the tables."""
    assert on_postgres.manage("migrate", "--check").returncode == 0
    assert on_postgres.manage("makemigrations", "--check", "--dry-run").returncode == 0
    assert on_postgres.manage("check").returncode == 0


async def test_a_signed_in_user_speaks_under_their_name(on_postgres, ada, connect):
    """Sessions and users are read from PostgreSQL, and messages reach the other worker."""
    sender = await connect(on_postgres.ws("names"), cookie=ada.cookie)
    receivers = await on_each_worker(on_postgres, lambda: connect(on_postgres.ws("names")))
    await sender.send_chat("hello")
    for receiver in receivers:
        said = await receiver.expect(type="chat", data={"content": "hello"})
        assert said["user"] == ada.shown


async def test_settings_and_rules_are_in_force_within_two_seconds(on_postgres, connect):
    """A saved row reaches both workers: the settings are told, a closed room puts its members out."""
    members = await on_each_worker(on_postgres, lambda: connect(on_postgres.ws("ruled")))
    on_postgres.create_room("ruled", closed=True)
    on_postgres.change_settings(send_buffer=MARK)
    began = time.monotonic()
    for member in members:
        assert (await member.closed(3))[0] == 4503
    assert time.monotonic() - began < 2.5

    async def told() -> bool:
        clients = await on_each_worker(on_postgres, lambda: Client.connect(on_postgres.ws()))
        for client in clients:
            await client.close()
        return all(client.welcome["data"]["limits"]["send_buffer"] == MARK for client in clients)

    await eventually(told, "the new settings on both workers", 2)


async def test_a_refresh_token_is_exchanged_once_however_many_ask(on_postgres, ada):
    """Of eight exchanges at once, over two workers, one gives a pair; and a revoked sign-in gives none."""
    pair = mint(on_postgres, ada)
    refresh = {"refresh": pair["refresh"]}
    answers = await asyncio.gather(
        *(asyncio.to_thread(post, on_postgres, "/api/chat-api/token/refresh", refresh) for _ in range(8))
    )
    assert sorted(status for status, _ in answers) == [200] + [401] * 7
    [fresh] = [answer for status, answer in answers if status == 200]
    await asyncio.to_thread(post, on_postgres, "/api/chat-api/token/revoke", {"refresh": fresh["refresh"]})
    for token in (pair["access"], fresh["access"]):
        status, _, _ = on_postgres.get("/api/chat-api/ws", Authorization=f"Bearer {token}")
        assert status == 401


async def test_credentials_that_end_while_the_database_is_away_end_sockets_when_it_is_back(
    on_postgres, postgres, connect
):
    """A crash just before the workers look costs nobody their socket; when PostgreSQL is back, who was
    deactivated is parted with, by session and by token, and nobody else."""
    eve = on_postgres.create_user("eve")
    bob = on_postgres.create_user("bob")
    token = mint(on_postgres, eve)["access"]
    theirs = [
        await connect(on_postgres.ws(), headers={"Authorization": f"Bearer {token}"}),
        await connect(on_postgres.ws(), cookie=eve.cookie),
    ]
    stays = await connect(on_postgres.ws(), cookie=bob.cookie)
    await on_postgres.adjango(
        "from django.contrib.auth.models import User\nUser.objects.filter(pk=pk).update(is_active=False)",
        pk=eve.id,
    )
    postgres.crash()
    try:
        word = "from chat.realtime import control\ncontrol.tell('verify_user', {'user': user})"
        for user in (eve, bob):
            await on_postgres.adjango(word, user=str(user.id))
        await eventually(lambda: "credentials_unverified" in on_postgres.recent_output(), "the complaint", 10)
        for client in (*theirs, stays):
            await client.round_trip()
    finally:
        postgres.start()
    for client in theirs:
        assert await client.closed(15) == (4501, "signed out")
    await stays.round_trip()


async def test_chatting_goes_on_without_the_database(on_postgres, postgres, ada, connect):
    """A crashed PostgreSQL costs nobody their socket; visitors come in, sessions can't be read: 503."""
    pair = [await connect(on_postgres.ws("going-on")) for _ in range(2)]
    postgres.crash()
    try:
        await pair[0].send_chat("still here")
        await pair[1].expect(type="chat", data={"content": "still here"})
        visitor = await connect(on_postgres.ws("going-on"))
        await visitor.round_trip()
        assert await _answer(on_postgres, ada) == 503
    finally:
        postgres.start()
    await eventually(lambda: _lets_in(on_postgres, ada), "an accepted session", 10)
    await pair[0].round_trip()


async def test_a_frozen_database_holds_up_one_handshake_for_five_seconds(on_postgres, postgres, ada, connect):
    """Who needs the database is refused at the deadline; nobody else waits."""
    pair = [await connect(on_postgres.ws("frozen")) for _ in range(2)]
    postgres.freeze()
    try:
        began = time.monotonic()
        assert await _answer(on_postgres, ada) == 503
        assert 4 < time.monotonic() - began < 8
        began = time.monotonic()
        await pair[0].send_chat("quick")
        await pair[1].expect(type="chat", data={"content": "quick"})
        assert time.monotonic() - began < 1
    finally:
        postgres.thaw()
    await eventually(lambda: _lets_in(on_postgres, ada), "an accepted session", 10)


async def _answer(server: ChatServer, user: User) -> int:
    """What a handshake with this user's session would get; 426 stands for an open socket."""
    headers = {"Cookie": user.cookie, "Origin": server.origin}
    status, _, _ = await asyncio.to_thread(server.get, "/api/chat-api/ws", **headers)
    return status


async def _lets_in(server: ChatServer, user: User) -> bool:
    return await _answer(server, user) == 426
