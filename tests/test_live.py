"""The operators' settings: read before the first handshake is decided, kept when they can't be read."""

import asyncio
from types import SimpleNamespace

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from django.db import InterfaceError, OperationalError, ProgrammingError

from chat import live, rooms
from chat.consumers import RoomChatConsumer
from chat.models import ChatSettings
from chat.realtime import Unavailable, config
from chat.realtime.connection import State
from chat.realtime.layers import MemoryLayer
from chat.realtime.runtime import get_hub
from chatproject.asgi import application
from tests.kit import default_layer, eventually


class Database:
    """What a look at the tables finds. It can be held up, and broken."""

    def __init__(self) -> None:
        self.row = ChatSettings(pk=1)
        self.rules: dict[str, rooms.Rule] = {}
        self.version = 1
        self.error: Exception | None = None
        self.looks = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def read(self, known: object) -> tuple:
        self.looks += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return self.row, self.version, dict(self.rules)


@pytest.fixture
async def hub(monkeypatch):
    """A worker's hub that has not looked yet, in a process without rules."""
    monkeypatch.setattr(live, "_policy", live.Policy())
    monkeypatch.setattr(live, "_refused_pattern", "")
    before = config.current()
    with default_layer(MemoryLayer()):
        yield get_hub()
        get_hub().stop()
    rooms.replace({})
    config.apply(send_buffer=before.send_buffer)


@pytest.fixture
async def database(hub, monkeypatch) -> Database:
    found = Database()
    monkeypatch.setattr(live, "_read", found.read)
    return found


@pytest.fixture
def guest(hub) -> SimpleNamespace:
    """An anonymous connection in the room "tea" whose handshake is under way: its ``code`` at its end."""
    connection = coming()
    hub.connections["guest"] = connection
    return connection


def coming() -> SimpleNamespace:
    consumer = RoomChatConsumer()
    connection = SimpleNamespace(
        id="guest",
        user=None,
        room=None,
        consumer=consumer,
        code=None,
        busy_since=None,
        state=State.CONNECTING,
    )
    connection.close = lambda code, reason=None: setattr(connection, "code", code)
    consumer.connection, consumer.room, consumer.user = connection, "tea", AnonymousUser()
    return connection


# --- the first look -----------------------------------------------------------------------------------


async def test_handshakes_that_come_together_all_wait_for_the_first_look(hub, database):
    """None of them is decided on the defaults while the settings are being read; it is one look."""
    database.row.auth_required = True
    database.answers.clear()
    handshakes = [asyncio.create_task(live.ready(hub)) for _ in range(5)]
    await eventually(lambda: database.looks, "a look")
    assert not any(handshake.done() for handshake in handshakes)
    database.answers.set()
    await asyncio.gather(*handshakes)
    assert live.auth_required()
    assert database.looks == 1


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("connection refused"),
        OperationalError("database is locked"),
        InterfaceError("connection already closed"),
        ProgrammingError("permission denied for table chat_room"),
        TimeoutError(),
    ],
    ids=repr,
)
async def test_settings_that_were_never_read_let_nobody_in(hub, database, caplog, error):
    """While the database can't be reached every handshake is refused, the log says so once; the next
    handshake that finds it again is decided by what it says."""
    database.error = error
    for handshakes in range(1, 3):
        found = await asyncio.gather(*[live.ready(hub) for _ in range(3)], return_exceptions=True)
        assert [(type(refusal), refusal.retry_after) for refusal in found] == [(Unavailable, 2)] * 3
        assert database.looks == handshakes
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    database.error, database.row.auth_required = None, True
    await live.ready(hub)
    assert live.auth_required()


async def test_known_settings_hold_while_the_database_is_away(hub, database):
    """What was read once stays in force, and handshakes are decided by it."""
    database.row.auth_required = True
    await live.ready(hub)
    database.error = OperationalError("connection refused")
    await live._watches[hub].look()
    await live.ready(hub)
    assert live.auth_required()


def undefined_table() -> Exception:
    """What psycopg says of a missing table."""
    error = ProgrammingError('relation "chat_chatsettings" does not exist')
    error.__cause__ = SimpleError()
    return error


class SimpleError(Exception):
    sqlstate = "42P01"


@pytest.mark.parametrize("error", [OperationalError("no such table: chat_room"), undefined_table()], ids=repr)
async def test_without_tables_the_defaults_hold(hub, database, caplog, error):
    """A database that is not migrated yet has no settings: everybody may come in, and the log says so."""
    database.error = error
    await live.ready(hub)
    assert not live.auth_required()
    await rooms.check_access("tea", SimpleNamespace(is_authenticated=False))
    assert caplog.records[-1].event == "settings_unreadable"


async def test_a_test_without_a_database_connects(hub):
    """Where pytest-django forbids the database, `WebsocketCommunicator` reaches the chat all the same."""
    for path in ("/api/chat-api/ws", "/api/chat-api/ws/tea"):
        communicator = WebsocketCommunicator(application, path)
        assert (await communicator.connect(timeout=5))[0]
        assert (await communicator.receive_json_from(timeout=5))["data"]["event"] == "welcome"
        await communicator.disconnect()


async def test_each_event_loop_has_looks_of_its_own(hub, database):
    """A second hub looks before its first handshake too; of a loop that is closed nothing is kept."""
    await live.ready(hub)

    async def elsewhere() -> None:
        database.answers = asyncio.Event()
        database.answers.set()
        with default_layer(MemoryLayer()):
            await live.ready(get_hub())
            get_hub().stop()

    for looks in (2, 3):
        await asyncio.to_thread(asyncio.run, elsewhere())
        assert database.looks == looks
        assert len([known for known in live._watches if known is not hub]) == 1


# --- changes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(", "(a|b)*", "[a"])
async def test_a_pattern_that_can_not_be_used_keeps_the_last_one(hub, database, caplog, pattern):
    """Written past the form, it changes nothing, is logged once, and other changes are in force."""
    database.row.room_pattern = "lobby"
    await live.ready(hub)
    database.row.room_pattern, database.row.send_buffer = pattern, 17
    for _ in range(3):
        await live._watches[hub].look()
    assert live.policy().room_pattern.pattern == "lobby"
    assert config.current().send_buffer == 17
    assert len([record for record in caplog.records if "pattern" in record.message]) == 1
    database.row.room_pattern = ""
    await live._watches[hub].look()
    assert live.policy().room_pattern is None


async def test_a_change_that_could_not_be_enforced_is_enforced_later(hub, database, guest, monkeypatch):
    """A database error while the members are held against new rules puts it off by one look, no more."""
    await live.ready(hub)
    database.rules, database.version = {"tea": rooms.Rule(closed=True)}, 2
    read, found = rooms.rules_of, [OperationalError("gone")]

    async def rules_of(names: set[str]) -> dict[str, rooms.Rule]:
        if found:
            raise found.pop()
        return await read(names)

    monkeypatch.setattr(rooms, "rules_of", rules_of)
    await live._watches[hub].look()
    assert guest.code is None
    await live._watches[hub].look()
    assert guest.code == 4503


@pytest.mark.parametrize("change", ["a sign-in is required", "the room is closed"])
async def test_a_change_reaches_handshakes_under_way(hub, database, guest, change):
    """Who was let in a moment before is parted with, even where it registers just after the change."""
    await live.ready(hub)
    if change == "the room is closed":
        database.rules, database.version, code = {"tea": rooms.Rule(closed=True)}, 2, 4503
    else:
        database.row.auth_required, code = True, 4501
    late = coming()
    await live._watches[hub].look()
    assert guest.code == code
    hub.connections["late"] = late
    await live._watches[hub].look()
    assert late.code == code
