"""Streams on a real server: numbered chunks, back-pressure, cancelling, failing, bounds."""

import asyncio
import json

import pytest

from chat.realtime.testing.raw import TEXT, frame
from tests.app.kit import said
from tests.kit import QuietSocket, on_each_worker
from tests.test_consumer_server import habits, url_of


async def streaming(server, connect, room):
    client = await connect(url_of(server, f"streaming/{room}"), welcomed=False)
    await client.expect(type="ready")
    return client


async def witness_of(server, connect, room):
    [witness] = await habits(server, connect, f"{room}-witness", 1)
    await witness.send({"add": f"test.left.{room}"})
    await witness.expect(added=f"test.left.{room}")
    return witness


def of(client, ident):
    return [(f["type"], f["data"]) for f in client.received if f.get("id") == ident]


async def test_what_a_handler_yields_comes_in_numbered_chunks(app_server, connect, room):
    """Start, chunks from 0, end with their number; all with the request's id, or one that start tells."""
    client = await streaming(app_server, connect, room)
    await client.send({"type": "count", "id": "c-1", "data": 3})
    await client.expect(type="stream.end", id="c-1")
    assert of(client, "c-1") == [
        ("stream.start", {}),
        *[("stream.chunk", {"seq": number, "data": number}) for number in range(3)],
        ("stream.end", {"chunks": 3}),
    ]
    await client.send({"type": "count", "data": 0})
    start = (await client.take(2, type="stream.start"))[1]
    await client.expect(type="stream.end", id=start["id"], data={"chunks": 0})
    await client.send({"type": "count", "id": 7, "data": "many"})
    await client.expect(type="error", data={"code": "invalid_message", "ref": 7})


async def test_rows_of_a_query_are_a_stream(app_server, connect, room):
    """A handler that returns a query set streams its rows."""
    for number in range(3):
        app_server.create_room(f"{room}-{number}", closed=number == 1)
    client = await streaming(app_server, connect, room)
    await client.send({"type": "rows", "id": "r", "data": f"{room}-"})
    await client.expect(type="stream.end", id="r", data={"chunks": 3})
    rows = [data["data"] for kind, data in of(client, "r") if kind == "stream.chunk"]
    assert rows == [{"name": f"{room}-{number}", "closed": number == 1} for number in range(3)]


async def test_streams_hold_up_no_handlers_and_each_other_neither(app_server, connect, room):
    """While some stream, other messages are served, and streams end in any order."""
    client = await streaming(app_server, connect, room)
    await client.send({"type": "waiting", "id": "w"})
    await client.expect(type="stream.chunk", id="w", data={"seq": 0, "data": "first"})
    await client.send({"type": "count", "id": "c", "data": 2})
    await client.expect(type="stream.end", id="c")
    await client.send({"type": "state", "id": "s"})
    await client.expect(type="reply", id="s")
    await client.send({"type": "open"})
    await client.expect(type="stream.chunk", id="w", data={"seq": 1, "data": "last"})
    await client.expect(type="stream.end", id="w", data={"chunks": 2})


async def test_an_endless_stream_leaves_time_to_everybody_else(app_server, connect, room):
    """A generator that never waits, read as fast as it comes: others on its worker are served meanwhile."""
    client = await streaming(app_server, connect, room)
    await client.send({"type": "endless", "id": "e", "data": 10})
    await client.expect(type="stream.chunk", id="e")

    async def read():
        while True:
            await client.next()

    reading = asyncio.create_task(read())
    others = await on_each_worker(app_server, lambda: connect(app_server.ws()))
    for other in others:
        for _ in range(20):
            await other.round_trip()
    reading.cancel()
    await asyncio.wait({reading})
    await client.send({"type": "stream.cancel", "data": {"ref": "e"}})
    await client.expect(type="stream.end", id="e", data={"cancelled": True})


async def test_the_clients_reading_sets_the_pace(app_server, connect, room):
    """A client that stops reading stops the generator, with at most one chunk in the server's memory beyond
    the sockets' own buffers; when it reads on, the stream goes on, whole and in order."""
    size = 60_000
    witness = await witness_of(app_server, connect, room)
    quiet = await QuietSocket.upgraded(app_server.port, f"/test/streaming/{room}")
    [ready] = await quiet.read_frames(limit=20)  # from here on it hears what the witness asks
    assert json.loads(ready.payload)["type"] == "ready"
    await quiet.send(frame(TEXT, json.dumps({"type": "endless", "id": "e", "data": size}).encode()))
    seen = []
    try:
        produced = await settled(witness, room)
        assert 1 <= produced * size < 16_000_000
        while len(seen) < produced + 20:
            for piece in await quiet.read_frames(limit=20):
                message = json.loads(piece.payload)
                if message["type"] == "stream.chunk":
                    seen.append(message["data"]["seq"])
    finally:
        quiet.close()
    assert seen == list(range(len(seen)))


async def settled(witness, room):
    """How many chunks a generator has made when it makes no more: three answers that are the same."""
    before, same = -1, 0
    while same < 3:
        await witness.send({"group_send": f"test.{room}", "event": {"type": "produced.wanted"}})
        now = int((await witness.next(20))["event"])
        same = same + 1 if now == before > 0 else 0
        before = now
        await asyncio.sleep(0.05)
    return before


@pytest.mark.parametrize("how", ["closes", "vanishes"])
@pytest.mark.parametrize("kind", ["waiting", "endless"])
async def test_a_stream_ends_with_its_connection(app_server, connect, room, how, kind):
    """The generator's ``finally`` runs when its client closes or is cut off, before ``disconnect``."""
    witness = await witness_of(app_server, connect, room)
    client = await streaming(app_server, connect, room)
    await client.send({"type": kind, "id": "s", "data": 10})
    await client.expect(type="stream.chunk", id="s")
    if how == "closes":
        await client.close()
    else:
        client.abort()
    await witness.expect(event=f"{kind} closed")
    gone = f"connection {1000 if how == 'closes' else 1006} closed"
    await witness.expect(event=gone)
    assert [f["event"] for f in witness.received if "event" in f] == [f"{kind} closed", gone]


async def test_a_client_cancels(app_server, connect, room):
    """``stream.cancel`` ends it: its ``finally`` runs, ``stream.end`` says so; a second one, or one too late,
    is no error; one that names nothing is."""
    witness = await witness_of(app_server, connect, room)
    client = await streaming(app_server, connect, room)
    for ident, kind, cancel in (
        ("a", "waiting", {"type": "stream.cancel", "data": {"ref": "a"}}),
        (5, "stubborn", {"type": "stream.cancel", "id": 5}),
    ):
        await client.send({"type": kind, "id": ident})
        await client.expect(type="stream.chunk", id=ident)
        await client.send(cancel)
        await client.expect(type="stream.end", id=ident, data={"chunks": 1, "cancelled": True})
        await client.send(cancel)
    await witness.expect(event="waiting closed")
    await client.send('{"type": "count", "id": "both", "data": 1000000}')
    await client.send({"type": "stream.cancel", "id": "both"})
    await client.expect(type="stream.end", id="both", data={"cancelled": True})
    await client.send({"type": "stream.cancel", "id": [1]})
    await client.expect(type="error", data={"code": "invalid_message", "ref": None})
    assert len([f for f in client.received if f["type"] == "error"]) == 1


async def test_a_failing_stream_says_so(app_server, connect, room):
    """``stream.error`` with the error's code; a bug is ``internal`` with a number that the log has; the
    socket lives on."""
    client = await streaming(app_server, connect, room)
    await client.send({"type": "failing", "id": "e", "data": "error"})
    error = await client.expect(type="stream.error", id="e")
    assert error["data"] == {
        "code": "sold_out",
        "message": "Sold out.",
        "chunks": 1,
        "retry_after": 9,
        "details": {"sku": ["gone"]},
    }
    for ident, kind in enumerate(("bug", "unsendable", "cancelled")):
        await client.send({"type": "failing", "id": ident, "data": kind})
        error = await client.expect(type="stream.error", id=ident, data={"code": "internal", "chunks": 1})
        assert "secret" not in error["data"]["message"]
        number = error["data"]["message"].split("error ")[1].rstrip(").")
        assert number in app_server.recent_output()
        assert [kind for kind, _ in of(client, ident)] == ["stream.start", "stream.chunk", "stream.error"]
    await client.send({"type": "failing", "id": "d", "data": "disconnect"})
    assert await client.closed() == (4500, "enough")


async def test_so_many_streams_and_no_more(app_server, connect, room):
    """``max_streams = 3``: the fourth is refused until one has ended; ids under way can't be used twice."""
    client = await streaming(app_server, connect, room)
    for ident in range(3):
        await client.send({"type": "waiting", "id": ident})
        await client.expect(type="stream.chunk", id=ident)
    await client.send({"type": "waiting", "id": 3})
    await client.expect(type="error", data={"code": "too_many_streams", "ref": 3})
    await client.send({"type": "stream.cancel", "id": 1})
    await client.expect(type="stream.end", id=1)
    await client.send({"type": "waiting", "id": 2})
    await client.expect(type="error", data={"code": "invalid_message", "ref": 2})
    await client.send({"type": "waiting", "id": {"no": "id"}})
    await client.expect(type="error", data={"code": "invalid_message", "ref": None})
    await client.send({"type": "waiting", "id": 3})
    await client.expect(type="stream.chunk", id=3)


async def test_chunks_pass_send_middleware(app_server, connect, room):
    """Each chunk is seen by it, and the stream waits for it."""
    client = await connect(url_of(app_server, f"censored/{room}"), welcomed=False)
    mine = (await client.expect(type="ready"))["seen"]
    await client.send({"type": "count", "id": "c", "data": 50})
    end = await client.expect(type="stream.end", id="c")
    assert end["data"] == {"chunks": 50}
    chunks = [frame for frame in client.received if frame["type"] == "stream.chunk"]
    assert [frame["data"]["seq"] for frame in chunks] == list(range(50))
    assert {frame["seen"] for frame in chunks} == {mine}


async def test_streams_on_any_asgi_server(communicate):
    """Without a transport of ours: the same frames, one after another through the server's `send`."""
    client = await communicate("/test/streaming/any")
    assert (await said(client))["type"] == "ready"
    await client.send_json_to({"type": "count", "id": 1, "data": 40})
    frames = [await said(client) for _ in range(42)]
    assert [frame["type"] for frame in frames] == ["stream.start", *["stream.chunk"] * 40, "stream.end"]
    assert [frame["data"]["seq"] for frame in frames[1:-1]] == list(range(40))
    await client.send_json_to({"type": "waiting", "id": 2})
    assert [(await said(client))["type"] for _ in range(2)] == ["stream.start", "stream.chunk"]
    await client.send_json_to({"type": "stream.cancel", "id": 2})
    assert (await said(client))["data"] == {"chunks": 1, "cancelled": True}


async def test_consumers_without_streams_know_no_cancelling(app_server, connect, room):
    """There ``stream.cancel`` is an unknown type, as before."""
    client = await connect(url_of(app_server, f"guarded/{room}"), welcomed=False)
    await client.send({"type": "stream.cancel", "id": 1})
    await client.expect(type="error", data={"code": "unknown_type", "ref": 1})


async def test_a_chunk_has_a_handlers_time(start_server, connect, room):
    """Not the stream: one that goes on for longer is fine, one that is silent for too long ends with
    ``internal``; a client that reads nothing for so long is closed as too slow."""
    server = start_server(
        None, settings="tests.fault_settings", env={"FAULT_CONFIG": '{"handler_timeout": 1}'}
    )
    url = f"ws://127.0.0.1:{server.port}/faults/streaming/{room}"
    client = await connect(url, welcomed=False)
    await client.expect(type="ready")
    await client.send({"type": "waiting", "id": "w"})
    await client.expect(type="stream.error", id="w", data={"code": "internal", "chunks": 1})
    quiet = await QuietSocket.upgraded(server.port, f"/faults/streaming/{room}")
    await quiet.send(frame(TEXT, json.dumps({"type": "endless", "data": 60_000}).encode()))
    end = asyncio.get_running_loop().time() + 3
    await client.send({"type": "endless", "id": "long", "data": 1000})
    while asyncio.get_running_loop().time() < end:
        await client.expect(type="stream.chunk", id="long")
    await client.expect(limit=20, type="told", data="connection 4413 closed")
    quiet.close()
