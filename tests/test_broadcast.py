"""Broadcasts to some, and their reports, over two workers."""

import json
from urllib.parse import urlencode

import pytest

from chat.realtime.testing.quiet import QuietSocket
from chat.realtime.where import FIELDS, OPERATORS
from tests.kit import ChatServer, eventually, on_each_worker
from tests.pages import blocks, code, read, table

DATA = {"text": "ü"}

SEND = """
from dataclasses import asdict
from chat import realtime
receipt = getattr(realtime, call)(*args, **options)
asked = receipt.reports is not None
sums = [receipt.attempted, receipt.enqueued, receipt.dropped] if asked else None
result = {**asdict(receipt), "sums": sums}
"""


async def send(server: ChatServer, call: str, *args: object, **options: object) -> dict:
    """Call a function of `chat.realtime` in a process that serves nobody: its receipt."""
    return await server.adjango(SEND, call=call, args=args, options=options)


async def described(server: ChatServer, connect, room: str, query: str, **options: object):
    """A client of the test app with metadata."""
    address = f"ws://127.0.0.1:{server.port}/test/described/{room}?{query}"
    client = await connect(address, welcomed=False, **options)
    client.welcome = await client.expect(type="ready")
    return client


async def on_both(server: ChatServer, connect, room: str, query: str, **options: object):
    """Such a client on each of the two workers."""
    return await on_each_worker(server, lambda: described(server, connect, room, query, **options))


async def reached(clients, kind: str, receipt: dict) -> list[bool]:
    """Which of the clients got the message; all of them have heard what came after it."""
    return [any(frame["id"] == receipt["id"] for frame in await client.all(type=kind)) for client in clients]


# --- predicates -------------------------------------------------------------------------------------------


async def test_a_condition_chooses_on_every_worker(app_server, connect, room):
    """`where` reaches the connections whose metadata it fits, on each worker, and no others."""
    pro = await on_both(app_server, connect, room, "plan=pro")
    free = await on_both(app_server, connect, room, "plan=free")
    receipt = await send(
        app_server, "broadcast_room", room, "offer", DATA, where={"metadata.plan": {"in": ["pro", "team"]}}
    )
    after = await send(app_server, "broadcast_room", room, "after", None)
    for client in (*pro, *free):
        await client.expect(type="after", id=after["id"])
    assert await reached(pro, "offer", receipt) == [True, True]
    assert await reached(free, "offer", receipt) == [False, False]
    assert (receipt["workers"], receipt["reports"]) == (2, None)


async def test_to_everybody_who(app_server, connect, room):
    """`broadcast_all(where=...)` looks at every connection, in whatever room it is."""
    one, two = await on_both(app_server, connect, room, f"team={room}")
    other = await described(app_server, connect, room, "team=none")
    receipt = await send(app_server, "broadcast_all", "offer", DATA, where={"metadata.team": room})
    for client in (one, two):
        frame = await client.expect(type="offer", id=receipt["id"])
        assert (frame["room"], frame["data"]) == (None, DATA)
    await send(app_server, "broadcast_room", room, "after", None)
    await other.expect(type="after")
    await other.nothing(type="offer")


async def test_a_registered_predicate_is_asked_in_the_workers(app_server, connect, room):
    """`{"@name": argument}`: the sender names the function, each worker calls its own; where it fails, no."""
    heavy = await described(app_server, connect, room, "weight=9")
    light = await described(app_server, connect, room, "weight=2")
    broken = await described(app_server, connect, room, "plan=pro")
    receipt = await send(
        app_server, "broadcast_room", room, "offer", DATA, where={"@test.heavier": 5}, report=True
    )
    await send(app_server, "broadcast_room", room, "after", None)
    for client in (heavy, light, broken):
        await client.expect(type="after")
    assert await reached([heavy, light, broken], "offer", receipt) == [True, False, False]
    assert receipt["sums"] == [1, 1, 0]
    assert "predicate_failed" in app_server.recent_output()


@pytest.mark.parametrize("where", [{"metadata_plan": "pro"}, {"@nobody": 1}, {}, {"room": {"is": "x"}}])
async def test_a_wrong_condition_reaches_nobody(app_server, connect, room, where):
    """It fails at the sender: InvalidCondition, and nothing is published."""
    client = await described(app_server, connect, room, "plan=pro")
    with pytest.raises(RuntimeError, match="InvalidCondition"):
        await send(app_server, "broadcast_room", room, "offer", DATA, where=where)
    await send(app_server, "broadcast_room", room, "after", None)
    await client.expect(type="after")
    await client.nothing(type="offer")


# --- leaving out ------------------------------------------------------------------------------------------


async def test_users_and_connections_are_left_out(app_server, connect, room):
    """`exclude` connections and `exclude_users`, by id, together."""
    ada, bob = app_server.create_user(f"ada-{room}"), app_server.create_user(f"bob-{room}")
    hers = await on_both(app_server, connect, room, "x=1", cookie=ada.cookie)
    his = await on_both(app_server, connect, room, "x=1", cookie=bob.cookie)
    receipt = await send(
        app_server,
        "broadcast_room",
        room,
        "offer",
        DATA,
        exclude=[his[0].id],
        exclude_users=[ada.id],
        report=True,
    )
    await send(app_server, "broadcast_room", room, "after", None)
    for client in (*hers, *his):
        await client.expect(type="after")
    assert await reached([*hers, *his], "offer", receipt) == [False, False, False, True]
    assert receipt["sums"] == [1, 1, 0]


async def test_one_connection_id_may_be_given_as_it_is(app_server, connect, room):
    """`exclude="id"` leaves that one out, not 32 letters."""
    one, two = await on_both(app_server, connect, room, "x=1")
    receipt = await send(app_server, "broadcast_room", room, "offer", DATA, exclude=one.id)
    await two.expect(type="offer", id=receipt["id"])
    await send(app_server, "broadcast_room", room, "after", None)
    await one.expect(type="after")
    await one.nothing(type="offer")


async def test_a_user_but_for_one_of_their_connections(app_server, connect, room):
    """`send_to_user` takes the same options: "signed in elsewhere" reaches the other tabs only."""
    ada = app_server.create_user(f"ada-{room}")
    one, two = await on_both(app_server, connect, room, "x=1", cookie=ada.cookie)
    receipt = await send(app_server, "send_to_user", ada.id, "elsewhere", None, exclude=[one.id], report=True)
    await two.expect(type="elsewhere", id=receipt["id"])
    assert receipt["sums"] == [1, 1, 0]
    await send(app_server, "send_to_user", ada.id, "after", None)
    await one.expect(type="after")
    await one.nothing(type="elsewhere")


# --- reports ----------------------------------------------------------------------------------------------


async def test_a_report_says_what_each_worker_did(app_server, connect, room):
    """`report=True`: one entry a worker with members, and their sums."""
    clients = [
        *await on_both(app_server, connect, room, "x=1"),
        await described(app_server, connect, room, "x=2"),
    ]
    receipt = await send(app_server, "broadcast_room", room, "offer", DATA, report=True)
    for client in clients:
        await client.expect(type="offer", id=receipt["id"])
    assert sorted(
        (entry["attempted"], entry["enqueued"], entry["dropped"]) for entry in receipt["reports"]
    ) == [
        (1, 1, 0),
        (2, 2, 0),
    ]
    assert {entry["worker"] for entry in receipt["reports"]} == {client.worker for client in clients}
    assert (receipt["workers"], receipt["missing"], receipt["sums"]) == (2, 0, [3, 3, 0])


async def test_reports_of_the_other_targets(app_server, connect, room):
    """To one connection, to one that is gone, to nobody."""
    one, _ = await on_both(app_server, connect, room, "x=1")
    receipt = await send(app_server, "send_to_connection", one.id, "offer", DATA, report=True)
    await one.expect(type="offer", id=receipt["id"])
    assert (receipt["workers"], receipt["sums"]) == (1, [1, 1, 0])
    gone = await send(app_server, "send_to_connection", one.id[:8] + "f" * 24, "offer", DATA, report=True)
    assert (gone["workers"], gone["sums"]) == (1, [0, 0, 0])
    nobody = await send(app_server, "broadcast_room", room + "-2", "offer", DATA, report=True)
    assert (nobody["workers"], nobody["reports"], nobody["sums"]) == (0, [], [0, 0, 0])


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest", "close"])
async def test_a_report_counts_what_a_slow_client_misses(start_server, own_redis, connect, room, policy):
    """A client that does not read: its buffer fills, and what it misses is told as the policy has it."""
    server = start_server(own_redis.url)
    server.change_settings(send_buffer=4, slow_consumer_policy=policy)

    async def in_force() -> bool:
        guest = await connect(server.ws())
        return guest.welcome["data"]["limits"]["send_buffer"] == 4

    await eventually(in_force, "the small buffer")
    fast = await connect(server.ws(room))
    deaf = await QuietSocket.upgraded(server.port, f"/api/chat-api/ws/{room}")
    big = {"text": "x" * 60_000}
    before = None
    for _ in range(200):
        receipt = await send(server, "broadcast_room", room, "bulk", big, report=True)
        await fast.expect(type="bulk", id=receipt["id"])
        if receipt["sums"][2]:
            break
        assert receipt["sums"] == [2, 2, 0]
        before = receipt
    assert before is not None
    assert receipt["sums"] == ([2, 2, 1] if policy == "drop_oldest" else [2, 1, 1])
    if policy == "close":
        receipt = await send(server, "broadcast_room", room, "bulk", big, report=True)
        assert receipt["sums"] == [1, 1, 0]
    deaf.close()


async def test_without_a_report_nothing_is_asked(app_server, connect, room):
    """A receipt that was not asked for more has no sums, and says how to get them."""
    with pytest.raises(RuntimeError, match="report=True"):
        await app_server.adjango(
            "from chat.realtime import broadcast_room\nbroadcast_room(room, 'x', 1).attempted", room=room
        )


async def test_in_one_process_too(start_server, connect, room):
    """On the in-memory layer the server's own views choose and get reports as with Redis."""
    server = start_server(settings="tests.settings")
    pro = await described(server, connect, room, "plan=pro")
    free = await described(server, connect, room, "plan=free")
    options = {"where": {"metadata.plan": "pro"}, "report": True}
    for where, call, target in (
        ("sync", "broadcast_room", room),
        ("async", "broadcast_room", room),
        ("sync", "send_to_connection", pro.id),
        ("async", "send_to_connection", pro.id),
    ):
        query = urlencode(
            {"call": call, "args": json.dumps([target, "offer", 1]), "options": json.dumps(options)}
        )
        status, _, body = server.get(f"/test/publish/{where}?{query}")
        assert status == 200, server.recent_output()
        receipt = json.loads(body)
        await pro.expect(type="offer", id=receipt["id"])
        assert [entry["enqueued"] for entry in receipt["reports"]] == [1]
    await free.nothing(type="offer")


# --- order ------------------------------------------------------------------------------------------------


async def test_the_order_of_a_room_holds_for_all_kinds(app_server, connect, room):
    """Plain broadcasts, chosen and reported ones in turn, without waiting: all members see that order."""
    one, two = await on_both(app_server, connect, room, "plan=pro")
    await app_server.adjango(
        """
import asyncio
from chat.realtime import abroadcast_room
from chat.realtime.runtime import run_sync

async def all_kinds():
    chosen = {"where": {"metadata.plan": "pro"}}
    kinds = [{}, chosen, {"report": True}, {"exclude": ["x"]}, {"exclude_users": [0]}]
    await asyncio.gather(*[abroadcast_room(room, "n", n, **kinds[n % 5]) for n in range(200)])

run_sync(all_kinds(), 20)
""",
        room=room,
    )
    for client in (one, two):
        frames = await client.take(200, type="n")
        assert [frame["data"] for frame in frames] == list(range(200))


# --- the page ---------------------------------------------------------------------------------------------


async def test_the_page_shows_what_works(app_server):
    """Each example of broadcasting.md runs in a shell beside the workers."""
    for example in blocks(read("broadcasting.md"), "python"):
        await app_server.adjango(example)


def test_the_page_lists_all_fields_and_operators():
    """The tables of broadcasting.md name exactly the fields and operators that there are."""
    page = read("broadcasting.md")
    fields = {name for cell in table(page, "field").column() for name in code(cell)}
    assert fields == {*FIELDS, "metadata.…", "claims.…"}
    operators = {name for cell in table(page, "operator").column() for name in code(cell)}
    assert operators == set(OPERATORS)
