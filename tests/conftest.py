"""Fixtures that all tests share: a Redis, servers, clients that are closed after the test.

A test that changes settings, kills something or looks at counts takes servers of its own; all others share
two: ``server`` (Redis, two workers) and ``memory_server`` (in-memory layer, one worker). On those, rooms keep
the tests apart: ``room`` is a name that no other test uses.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from channels.testing import WebsocketCommunicator
from hypothesis import HealthCheck, settings

from chat.realtime.layers import MemoryLayer, RedisLayer
from tests.kit import ChatServer, Client, RawSocket, RedisServer, default_layer, settings_left_alone
from tests.resource_kit import ResourceClient

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser import Windows

# A failed test shows what its servers wrote (docs/testing.md); its fixtures have chat's twins below.
pytest_plugins = ["chat.realtime.testing.plugin"]

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("chat", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chat")


Connect = Callable[..., Awaitable[Client]]
Communicate = Callable[..., Awaitable[WebsocketCommunicator]]


# About how many seconds a test takes that asks for one of these; any other takes less than one.
SECONDS = {"start_server": 5, "own_redis": 2, "windows": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: with several processes none is left with a long one at the end."""
    length: Counter[Path] = Counter()
    for item in items:
        length[item.path] += 1 + 5 * sum(SECONDS.get(name, 0) for name in getattr(item, "fixturenames", ()))
        length[item.path] += sum(mark.args[0] for mark in item.iter_markers("timeout"))
    items.sort(key=lambda item: -length[item.path])


@pytest.fixture(autouse=True)
def _settings_left_alone() -> Iterator[None]:
    """A test that changes REALTIME other than by the fixture ``settings`` fails, not one that comes after."""
    with settings_left_alone():
        yield


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """The Redis of the shared servers. Leave it alone; to break one, take ``own_redis``."""
    yield from _running(RedisServer())


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test, to be killed, frozen, restarted."""
    yield from _running(RedisServer())


@pytest.fixture(scope="session")
def _server(redis: RedisServer) -> Iterator[ChatServer]:
    yield from _running(ChatServer(redis.url, workers=2))


@pytest.fixture(scope="session")
def _memory_server() -> Iterator[ChatServer]:
    yield from _running(ChatServer(None))


@pytest.fixture(scope="session")
def _app_server(redis: RedisServer) -> Iterator[ChatServer]:
    # A database number of its own: what asks all workers there meets no other server's.
    server = ChatServer(redis.url.removesuffix("0") + "1", workers=2, settings="tests.settings")
    yield from _running(server, allow_tracebacks=True)


@pytest.fixture
def server(_server: ChatServer) -> Iterator[ChatServer]:
    """The shared server with Redis and two workers, in its default settings."""
    yield from _watched(_server)


@pytest.fixture
def memory_server(_memory_server: ChatServer) -> Iterator[ChatServer]:
    """The shared server on the in-memory layer."""
    yield from _watched(_memory_server)


@pytest.fixture
def app_server(_app_server: ChatServer) -> ChatServer:
    """The shared server with the test app (`tests.app`), on two workers; its handlers may fail on purpose."""
    _app_server.mark()
    return _app_server


@pytest.fixture(scope="session")
def _postgres_app_server() -> Iterator[ChatServer]:
    from tests.postgres import PostgresServer

    for postgres in _running(PostgresServer()):
        server = ChatServer(None, settings="tests.settings", env={"DATABASE_URL": postgres.url})
        migrated = server.manage("migrate", "--verbosity", "0")
        assert migrated.returncode == 0, migrated.stderr
        yield from _running(server, allow_tracebacks=True)


@pytest.fixture(params=["_app_server", "_postgres_app_server"], ids=["sqlite", "postgres"])
def each_app_server(request: pytest.FixtureRequest) -> ChatServer:
    """The test app on SQLite (``app_server``), then on PostgreSQL."""
    server: ChatServer = request.getfixturevalue(request.param)
    server.mark()
    return server


@pytest.fixture
def start_server() -> Iterator[Callable[..., ChatServer]]:
    """``start_server(redis_url, workers=2, env={...})``: a server for this test alone, stopped after it."""
    started: list[ChatServer] = []

    def start(*args: Any, **options: Any) -> ChatServer:
        server = ChatServer(*args, **options)
        started.append(server)
        return server.start()

    yield start
    _stop_all(started)


@pytest.fixture
def room() -> str:
    """A room name that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """``Client.connect``, closed after the test."""
    opened: list[Client] = []

    async def open_client(url: str, **options: Any) -> Client:
        client = await Client.connect(url, **options)
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        await client.close()


@pytest.fixture
async def resources() -> AsyncIterator[Callable[..., Awaitable[ResourceClient]]]:
    """``await resources(server)``: a connection to its resources, closed after the test."""
    opened: list[ResourceClient] = []

    async def open_client(server: ChatServer, **options: Any) -> ResourceClient:
        opened.append(await ResourceClient.open(server, **options))
        return opened[-1]

    yield open_client
    for client in opened:
        await client.close()


@pytest.fixture
async def open_raw() -> AsyncIterator[Callable[..., Awaitable[RawSocket]]]:
    """``open_raw(server)``: a TCP connection to it, closed after the test."""
    opened: list[RawSocket] = []

    async def open_socket(server: ChatServer) -> RawSocket:
        raw = await RawSocket.open(server.port)
        opened.append(raw)
        return raw

    yield open_socket
    for raw in opened:
        await raw.close()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A Chromium. A module's and not the session's: while Playwright runs, its process runs no async test."""
    from tests.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def windows(browser: "Browser") -> Iterator["Windows"]:
    """Opens windows; at the end no page has had an error or broken the Content-Security-Policy."""
    from tests.browser import Windows

    windows = Windows(browser)
    yield windows
    windows.close()


@pytest.fixture(params=["memory", "redis"])
async def layer(request: pytest.FixtureRequest, redis):
    """Our channel layer of this process: each of the two kinds."""
    if request.param == "memory":
        layer = MemoryLayer()
    else:
        layer = RedisLayer(hosts=[redis.url], prefix=f"test-{uuid4().hex[:8]}")
    with default_layer(layer):
        yield layer


@pytest.fixture
async def communicate(layer) -> AsyncIterator[Communicate]:
    """``await communicate("/test/habits/tea")``: a connected communicator, ended after the test."""
    from django.contrib.auth.models import AnonymousUser

    from tests.app.kit import application

    opened = []

    async def open_one(path: str, user: object = None, **options: object) -> WebsocketCommunicator:
        communicator = WebsocketCommunicator(application, path, **options)
        communicator.scope["user"] = user or AnonymousUser()
        opened.append(communicator)
        connected, _ = await communicator.connect(timeout=5)
        assert connected
        return communicator

    yield open_one
    for communicator in opened:
        await communicator.disconnect()


def _running(process: Any, **stopping: Any) -> Iterator[Any]:
    try:
        process.start()
        yield process
    finally:
        _stop_all([process], **stopping)


def _stop_all(processes: list[Any], **stopping: Any) -> None:
    """Stop each of them, even where another one fails at it."""
    errors = []
    for process in processes:
        try:
            process.stop(**stopping)
        except AssertionError as error:
            errors.append(error)
        process.cleanup()
    if errors:
        raise errors[0]


def _watched(server: ChatServer) -> Iterator[ChatServer]:
    """A shared server, which must write no traceback during this test."""
    server.mark()
    yield server
    server.check_output(server.recent_output())
