"""Fixtures for pytest. In a project's conftest.py: ``pytest_plugins = ["chat.realtime.testing.plugin"]``

docs/testing.md shows their use. A test that fails shows what its servers wrote meanwhile.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from .client import Client
from .process import Process
from .proxy import RedisProxy
from .redis import RedisServer
from .server import RealtimeServer

Connect = Callable[..., Awaitable[Client]]


@pytest.fixture(scope="session")
def realtime_options() -> dict[str, Any]:
    """Override this one: options of RealtimeServer for ``realtime_server``."""
    return {}


@pytest.fixture(scope="session")
def realtime_server(realtime_options: dict[str, Any]) -> Iterator[RealtimeServer]:
    """`manage.py serve` with two workers (or as ``realtime_options`` says), for the whole test run, on a
    Redis and a database of its own."""
    with _Stopping() as stopping:
        redis = stopping.add(RedisServer()).start()
        options = {"workers": 2, "overrides": {}, **realtime_options}
        yield stopping.add(RealtimeServer(redis.url, **options)).start()


@pytest.fixture
def start_realtime_server(realtime_options: dict[str, Any]) -> Iterator[Callable[..., RealtimeServer]]:
    """``start_realtime_server(redis_url, workers=1, overrides={...})``: a server for this test alone."""
    with _Stopping() as stopping:

        def start(redis_url: str | None = None, **options: Any) -> RealtimeServer:
            given = {"overrides": {}, **realtime_options, **options}
            return stopping.add(RealtimeServer(redis_url, **given)).start()

        yield start


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis for this test alone, to be frozen, killed, restarted."""
    with _Stopping() as stopping:
        yield stopping.add(RedisServer()).start()


@pytest.fixture
def redis_proxy(redis_server: RedisServer) -> Iterator[RedisProxy]:
    """A line to ``redis_server`` that can be cut, held up and deafened."""
    with RedisProxy(redis_server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """``await connect("/ws/orders/7")``: a socket to ``realtime_server``, or by a whole address to another
    one; with the options of ``Client.connect``. Closed after the test."""
    opened: list[Client] = []

    async def open_client(address: str, **options: Any) -> Client:
        if address.startswith("/"):
            address = request.getfixturevalue("realtime_server").websocket(address)
        one = await Client.connect(address, **options)
        opened.append(one)
        return one

    yield open_client
    for one in opened:
        await one.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show with a failure what the test's servers wrote."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Process) and not name.startswith("_"):
                report.sections.append((f"output of {name}", value.recent_output()[-8000:] or "none"))
    return report


class _Stopping:
    """Stops what was added, the last first, each even where another one fails at it."""

    def __init__(self) -> None:
        self._processes: list[Any] = []

    def add(self, process: Any) -> Any:
        self._processes.append(process)
        return process

    def __enter__(self) -> "_Stopping":
        return self

    def __exit__(self, *raised: object) -> None:
        errors = []
        for process in reversed(self._processes):
            try:
                process.stop()
            except AssertionError as error:
                errors.append(error)
            process.cleanup()
        if errors:
            raise errors[0]
