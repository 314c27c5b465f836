"""A connection's states and metadata; finding, counting, noting and closing on all workers."""

import asyncio
import json
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime import IllegalMove, InvalidMetadata, RealtimeError
from chat.realtime.connection import Connection, State
from chat.realtime.counters import Counters
from chat.realtime.metadata import LARGEST, LONGEST_KEY, MOST_KEYS
from tests.kit import ChatServer, on_each_worker
from tests.pages import blocks, code, read, table


class Line:
    """A transport that notes what it is told."""

    ready = True
    limits_messages = True

    def __init__(self) -> None:
        self.written: list[object] = []
        self.closes: list[int] = []

    def write_frame(self, frame: object) -> None:
        self.written.append(frame)

    def close_now(self, code: int, reason: str, give_up_after: float | None = None) -> None:
        self.closes.append(code)


def hub() -> SimpleNamespace:
    return SimpleNamespace(worker="9be4c7d1", counters=Counters())


@pytest.fixture
def connection() -> Connection:
    return Connection("9be4c7d1a0", hub(), Line())


# --- states -----------------------------------------------------------------------------------------------

TO = {
    State.CONNECTING: lambda connection: None,
    State.OPEN: lambda connection: connection.opened(),
    State.CLOSING: lambda connection: (connection.opened(), connection.close()),
    State.CLOSED: lambda connection: connection.closed(1006),
}


def test_the_way_through_a_life(connection):
    """Connecting, open, closing, closed."""
    assert connection.state is State.CONNECTING
    connection.opened()
    assert connection.state is State.OPEN
    connection.close(4510)
    assert connection.state is State.CLOSING
    connection.closed(1000)
    assert (connection.state, connection.close_code) == (State.CLOSED, 4510)


@pytest.mark.parametrize("state", [State.OPEN, State.CLOSING, State.CLOSED])
def test_only_a_connecting_one_can_open(connection, state):
    """Opened twice, or opened again after its end: IllegalMove names both states, and nothing changes."""
    TO[state](connection)
    with pytest.raises(IllegalMove, match=f"that is {state.name.lower()} can't become open"):
        connection.opened()
    assert connection.state is state


def test_the_end_comes_once(connection):
    """A closed connection can't be closed by its line again; asking it to close is no error."""
    connection.closed(1006)
    with pytest.raises(IllegalMove, match="that is closed can't become closed"):
        connection.closed(1000)
    connection.close(4510)
    connection.abandon()
    assert (connection.state, connection.close_code) == (State.CLOSED, 1006)
    assert connection.transport.closes == []


@pytest.mark.parametrize("end", ["lost while connecting", "lost while open"])
def test_a_line_may_break_at_any_time(connection, end):
    """From connecting (refused, or the client left) and from open straight to closed."""
    if end == "lost while open":
        connection.opened()
    connection.closed(1006)
    assert connection.state is State.CLOSED


def test_closed_while_the_answer_was_under_way(connection):
    """Who is closed between the decision and the open socket is closed as soon as it is open."""
    connection.close(4503)
    assert connection.state is State.CONNECTING
    connection.opened()
    assert connection.state is State.CLOSING
    assert connection.transport.closes == [4503]


@given(st.lists(st.sampled_from(["opened", "close", "closed", "abandon"]), max_size=12))
def test_no_calls_lead_another_way(calls):
    """In whatever order, the state only goes forward, and IllegalMove is all that is raised."""
    connection = Connection("9be4c7d1a0", hub(), Line())
    for call in calls:
        before = connection.state
        try:
            getattr(connection, call)(*((1000,) if call == "closed" else ()))
        except IllegalMove:
            assert connection.state is before
        assert connection.state >= before
    assert len(connection.transport.closes) <= 1


# --- metadata ---------------------------------------------------------------------------------------------


def test_what_an_application_notes(connection):
    """`set` adds, `get` reads, `unset` removes, an assignment replaces; reading can't change it."""
    assert dict(connection.metadata) == {}
    assert connection.get("plan") is None
    connection.set(plan="pro", spent=510)
    connection.set(spent=520)
    assert dict(connection.metadata) == {"plan": "pro", "spent": 520}
    connection.unset("plan", "nothing")
    assert connection.get("plan", "free") == "free"
    connection.metadata = {"tags": ["vip"]}
    assert connection.get("tags") == ["vip"]
    with pytest.raises(TypeError):
        connection.metadata["tags"] = []
    connection.metadata = None
    assert dict(connection.metadata) == {}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({f"key-{n}": n for n in range(MOST_KEYS + 1)}, "at most 32"),
        ({"x" * (LONGEST_KEY + 1): 1}, "1 to 64 characters"),
        ({"": 1}, "1 to 64 characters"),
        ({"a.b": 1}, "without a dot"),
        ({"big": "x" * LARGEST}, "at most 4,096 bytes"),
        ({"object": object()}, "what JSON can say"),
        ({"huge": 2**100}, "what JSON can say"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_metadata_has_bounds(connection, values, words):
    """Keys, their length, the whole's size: refused, and what was noted before holds."""
    connection.set(plan="pro")
    with pytest.raises(InvalidMetadata, match=words) as raised:
        connection.metadata = values
    assert isinstance(raised.value, RealtimeError)
    assert isinstance(raised.value, ValueError)
    assert raised.value.code == "invalid_message"
    with pytest.raises(InvalidMetadata):
        connection.set(**{"more": 1, **values})
    assert dict(connection.metadata) == {"plan": "pro"}


def test_metadata_up_to_its_bounds(connection):
    """32 keys are taken, and exactly 4,096 bytes as JSON."""
    connection.metadata = {f"key-{n}": n for n in range(MOST_KEYS)}
    empty = len(msgspec.json.encode({"big": ""}))
    connection.metadata = {"big": "x" * (LARGEST - empty)}
    with pytest.raises(InvalidMetadata):
        connection.metadata = {"big": "x" * (LARGEST - empty + 1)}


def test_metadata_is_a_copy(connection):
    """What the application does to its own dict afterwards does not get around the bounds."""
    mine = {"tags": ["a"]}
    connection.metadata = mine
    mine["tags"].append("b")
    assert connection.get("tags") == ["a"]


# --- on all workers ---------------------------------------------------------------------------------------

ROSTER = """
from dataclasses import asdict, is_dataclass
from chat import realtime
found = getattr(realtime, call)(*args, **options)
result = asdict(found) if is_dataclass(found) else found
"""


async def roster(server: ChatServer, call: str, *args: object, **options: object):
    """Call a function of `chat.realtime` in a process that serves nobody."""
    return await server.adjango(ROSTER, call=call, args=args, options=options)


async def described(server: ChatServer, connect, room: str, query: str, **options: object):
    address = f"ws://127.0.0.1:{server.port}/test/described/{room}?{query}"
    client = await connect(address, welcomed=False, **options)
    client.welcome = await client.expect(type="ready")
    return client


async def on_both(server: ChatServer, connect, room: str, query: str):
    return await on_each_worker(server, lambda: described(server, connect, room, query))


async def test_a_connection_tells_all_of_itself(app_server, connect, room):
    """State, user, address, program, times, rooms, counts and metadata, from another process."""
    ada = app_server.create_user(f"ada-{room}")
    client = await described(
        app_server, connect, room, "plan=pro", cookie=ada.cookie, user_agent_header="tests/1"
    )
    await client.round_trip()
    found = await roster(app_server, "find_connections", {"id": client.id})
    (one,) = found["connections"]
    assert (found["total"], found["workers"], found["missing"], found["next"]) == (1, 2, 0, None)
    assert one["state"] == "open"
    assert (one["id"], one["worker"], one["rooms"]) == (client.id, client.worker, [room])
    assert one["user"] == ada.shown
    assert (one["address"], one["user_agent"]) == ("127.0.0.1", "tests/1")
    assert one["connected_at"] <= one["last_activity"]
    assert one["metadata"] == {"plan": "pro"}
    assert (one["messages_in"], one["messages_out"]) == (1, 2)
    assert (one["bytes_in"], one["bytes_out"]) == (
        len(json.dumps({"type": "ping", "id": client.received[-1]["id"]})),
        sum(len(text.encode()) for text in client.texts),
    )
    assert (one["queue_depth"], one["dropped"]) == (0, 0)
    assert "rtt" in one
    assert not set(one) & {"session_key", "claims"}


async def test_finding_by_a_condition(app_server, connect, room):
    """`find_connections(where=...)` and `connection_count` look on both workers; nobody else is listed."""
    pro = await on_both(app_server, connect, room, "plan=pro")
    await on_both(app_server, connect, room, "plan=free")
    where = {"rooms": {"contains": room}, "metadata.plan": "pro"}
    found = await roster(app_server, "find_connections", where)
    assert {one["id"] for one in found["connections"]} == {client.id for client in pro}
    assert found["total"] == 2
    assert await roster(app_server, "connection_count", where) == 2
    assert await roster(app_server, "connection_count", {"rooms": {"contains": room}}) == 4
    with pytest.raises(RuntimeError, match="InvalidCondition"):
        await roster(app_server, "connection_count", {"rooom": room})


async def test_pages(app_server, connect, room):
    """Page by page, the oldest first, each connection once; the total on every page; the last one says so."""
    clients = [await described(app_server, connect, room, "x=1") for _ in range(7)]
    where, listed, after = {"rooms": {"contains": room}}, [], None
    for length in (3, 3, 1):
        page = await roster(app_server, "find_connections", where, limit=3, after=after)
        assert (len(page["connections"]), page["total"]) == (length, 7)
        listed += [one["id"] for one in page["connections"]]
        after = page["next"]
        assert (after is None) == (length == 1)
    assert listed == [client.id for client in clients]


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 1001}, {"after": "x"}])
async def test_pages_that_there_can_not_be(app_server, options):
    """A limit beyond 1,000, a place in no list: ValueError, at the caller."""
    with pytest.raises(RuntimeError, match="ValueError"):
        await roster(app_server, "find_connections", None, **options)


async def test_noting_something_from_elsewhere(app_server, connect, room):
    """`set_metadata` notes on every connection that a condition finds; at once conditions see it."""
    clients = await on_both(app_server, connect, room, "plan=free")
    where = {"rooms": {"contains": room}}
    assert await roster(app_server, "set_metadata", where, {"plan": "pro", "since": 3}) == 2
    assert await roster(app_server, "connection_count", {**where, "metadata.plan": "pro"}) == 2
    found = await roster(app_server, "find_connections", {"id": clients[0].id})
    assert found["connections"][0]["metadata"] == {"plan": "pro", "since": 3}
    with pytest.raises(RuntimeError, match="InvalidMetadata"):
        await roster(app_server, "set_metadata", where, {"plan": "x" * 5000})
    assert await roster(app_server, "set_metadata", where, {"more": "x" * 4085}) == 0
    assert await roster(app_server, "connection_count", {**where, "metadata.plan": "pro"}) == 2


async def test_what_an_application_notes_over_its_own_socket(app_server, connect, room):
    """A handler sets metadata; too much is answered with `invalid_message`; the socket lives on."""
    client = await described(app_server, connect, room, "x=1")
    await client.send({"type": "describe", "data": {"tags": ["a", "b"]}})
    assert (await client.expect(type="described"))["data"]["metadata"] == {"tags": ["a", "b"]}
    await client.send({"type": "describe", "data": {"big": "x" * 5000}})
    await client.expect(type="error", data={"code": "invalid_message"})
    assert (
        await roster(app_server, "connection_count", {"id": client.id, "metadata.tags": {"contains": "a"}})
        == 1
    )


# --- closing ----------------------------------------------------------------------------------------------


async def test_closing_all_that_match(app_server, connect, room):
    """Those who match hear the code and the reason; it returns when they are gone; the others stay."""
    going = await on_both(app_server, connect, room, "plan=free")
    stays = await described(app_server, connect, room, "plan=pro")
    where = {"rooms": {"contains": room}, "metadata.plan": "free"}
    closing = asyncio.create_task(
        roster(app_server, "close_all_connections", 5, where=where, code=4001, reason="moved")
    )
    assert [await client.closed() for client in going] == [(4001, "moved")] * 2
    report = await closing
    assert (report["total"], report["closed"], report["remaining"], report["workers"]) == (2, 2, [], 2)
    assert await roster(app_server, "connection_count", {"rooms": {"contains": room}}) == 1
    await stays.round_trip()


async def test_who_does_not_go_is_reported(app_server, connect, room):
    """A connection whose handler hangs is closing when the time is over: it is named, and it goes later."""
    hanging, other = await on_both(app_server, connect, room, "x=1")
    await hanging.send({"type": "hang"})
    await hanging.expect(type="hanging")
    where = {"rooms": {"contains": room}}
    closing = asyncio.create_task(roster(app_server, "close_all_connections", 0.5, where=where))
    assert await other.closed() == (1001, "the server is restarting")
    report = await closing
    assert (report["total"], report["closed"]) == (2, 1)
    assert [(one["id"], one["state"]) for one in report["remaining"]] == [(hanging.id, "closing")]
    assert (await hanging.closed())[0] == 1001


async def test_closing_everybody(start_server, own_redis, connect, room):
    """Without a condition all connections of all workers go; those who come back are let in."""
    server = start_server(own_redis.url, workers=2)
    clients = [*await on_each_worker(server, lambda: connect(server.ws(room))), await connect(server.ws())]
    closing = asyncio.create_task(roster(server, "close_all_connections", 5))
    assert {(await client.closed())[0] for client in clients} == {1001}
    report = await closing
    assert (report["total"], report["closed"], report["remaining"]) == (3, 3, [])
    await (await connect(server.ws(room))).round_trip()


@pytest.mark.parametrize("options", [{"code": 1006}, {"code": 99}, {"where": {}}])
async def test_closing_that_there_can_not_be(app_server, connect, room, options):
    """A code that may not be sent, an empty condition: an error at the caller, and everybody stays."""
    client = await described(app_server, connect, room, "x=1")
    with pytest.raises(RuntimeError, match=r"ValueError|InvalidCondition"):
        await roster(app_server, "close_all_connections", 1, **options)
    await client.round_trip()


async def test_in_one_process(start_server, connect, room):
    """The in-memory layer's one process is asked the same way, by its own views."""
    server = start_server(settings="tests.settings")
    client = await described(server, connect, room, "plan=pro")
    for where in ("sync", "async"):
        status, _, body = server.get(f"/test/count/{where}")
        assert (status, json.loads(body)) == (200, {"count": 1})
    await client.round_trip()


# --- whom an operator means -------------------------------------------------------------------------------


async def test_a_number_is_an_id(server, connect, room):
    """`--user 5` is the user with the id 5, never one who is named 5; `--username` is that one."""
    ada = server.create_user(f"ada-{room}")
    named = server.create_user(str(ada.id))
    hers = await connect(server.ws(room), cookie=ada.cookie)
    theirs = await connect(server.ws(room), cookie=named.cookie)
    for option, expected in (("--user", hers), ("--username", theirs)):
        shown = await asyncio.to_thread(server.command, "chat_connections", option, str(ada.id), "--json")
        assert [one["id"] for one in json.loads(shown.stdout)["connections"]] == [expected.id]
    await asyncio.to_thread(server.command, "chat_close", "--user", str(ada.id))
    assert (await hers.closed())[0] == 4510
    await theirs.round_trip()
    await asyncio.to_thread(server.command, "chat_close", "--username", str(ada.id))
    assert (await theirs.closed())[0] == 4510


@pytest.mark.parametrize("road", ["server", "memory_server"])
async def test_operators_ask_by_conditions_too(request, road, connect, room):
    """`chat_connections --where`, over Redis or over `GET connections?where=`; a wrong one is refused."""
    any_server = request.getfixturevalue(road)
    ada = await connect(any_server.ws(room, "name=Ada"))
    await connect(any_server.ws(room, "name=Bob"))
    condition = json.dumps({"metadata.name": "Ada", "rooms": {"contains": room}})
    shown = await asyncio.to_thread(any_server.command, "chat_connections", "--where", condition, "--json")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert ([one["id"] for one in found["connections"]], found["total"]) == ([ada.id], 1)
    for wrong in ('{"naem": "Ada"}', "[]", "{", "{}"):
        refused = await asyncio.to_thread(any_server.command, "chat_connections", "--where", wrong)
        assert refused.returncode in (1, 2)
        assert "argument --where" in refused.stderr


# --- the page ---------------------------------------------------------------------------------------------


async def test_the_page_shows_what_works(app_server):
    """Each example of connections.md that is not part of a consumer runs in a shell beside the workers."""
    for example in blocks(read("connections.md"), "python"):
        if not example.startswith("# in a consumer"):
            await app_server.adjango(example)


def test_the_page_lists_what_a_connection_tells(connection):
    """The table of connections.md names exactly the keys of `describe`."""
    keys = {name for cell in table(read("connections.md"), "key").column() for name in code(cell)}
    assert keys == set(connection.describe())
