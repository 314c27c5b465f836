"""How many handlers of a connection run at once, and what they hold up: on a real server."""

import asyncio
import json

from chat.realtime.inbox import INBOX_MESSAGES
from tests.test_consumer_server import habits, url_of


async def opener(server, connect, room):
    """A connection that opens gates: ``await open("a")``."""
    [speaker] = await habits(server, connect, f"{room}-speaker", 1)

    async def open_gate(name):
        await speaker.send({"group_send": f"test.{room}", "event": {"type": "gate.opened", "gate": name}})

    return open_gate


async def parallel(server, connect, room, kind="parallel"):
    client = await connect(url_of(server, f"{kind}/{room}"), welcomed=False)
    await client.expect(type="ready")
    return client


async def test_up_to_n_handlers_run_at_once_and_the_next_waits(app_server, connect, room):
    """``concurrency = 3``: three begin, the fourth begins when one has ended; replies carry the ids."""
    open_gate = await opener(app_server, connect, room)
    client = await parallel(app_server, connect, room)
    for name in "abcd":
        await client.send({"type": "wait", "id": f"id-{name}", "data": name})
    for name in "abc":
        await client.expect(type="began", data=name)
    await open_gate("nobody's")
    await open_gate("b")
    await client.expect(type="reply", id="id-b", data={"done": "b", "most": 3})
    began = await client.expect(type="began", data="d")
    assert client.received.index(began) > [f.get("id") for f in client.received].index("id-b")
    for name in "dca":
        await open_gate(name)
        await client.expect(type="reply", id=f"id-{name}", data={"done": name, "most": 3})


async def test_handlers_run_one_after_another_by_default(app_server, connect, room):
    """The second message's handler begins when the first one's has ended."""
    client = await parallel(app_server, connect, room, "serial")
    speaker = await parallel(app_server, connect, room, "serial")
    await client.send({"type": "wait", "id": 1, "data": "a"})
    await client.expect(type="began", data="a")
    await client.send({"type": "fail", "id": 2})
    await app_server.adjango(
        "from chat.realtime import broadcast_room\nbroadcast_room(room, 'news', 'meanwhile')",
        room=f"parallel/{room}",
    )
    for heard in (client, speaker):
        await heard.expect(type="news", data="meanwhile")
    await speaker.send({"type": "fail", "id": 3})
    await speaker.expect(type="error", data={"ref": 3})
    assert [frame for frame in client.received if frame["type"] == "error"] == []


async def test_a_client_that_sends_more_is_not_read_on(start_server, connect, room):
    """With all slots taken the bounded inbox fills and TCP slows the client down; nothing is lost."""
    server = start_server(None, settings="tests.settings", env={"MESSAGE_RATE": "0", "BYTES_RATE": "0"})
    open_gate = await opener(server, connect, room)
    client = await parallel(server, connect, room)
    for name in "abc":
        await client.send({"type": "wait", "id": name, "data": name})
        await client.expect(type="began", data=name)
    text = json.dumps({"type": "nobody's", "data": "x" * 60_000})
    sent = 0

    async def flood():
        nonlocal sent
        for _ in range(INBOX_MESSAGES * 20):
            await client.socket.send(text)
            sent += 1

    flooding = asyncio.create_task(flood())
    before = -1
    while sent != before:
        before = sent
        await asyncio.wait({flooding}, timeout=0.5)
    assert not flooding.done()
    await open_gate("a")
    await client.take(INBOX_MESSAGES * 20, limit=20, type="error", data={"code": "unknown_type"})
    await flooding


async def test_each_running_handler_has_its_deadline(start_server, connect, room):
    """Handlers that take too long are ended and answered ``internal``; their slots are free again."""
    server = start_server(
        None, settings="tests.fault_settings", env={"FAULT_CONFIG": '{"handler_timeout": 1}'}
    )
    client = await connect(f"ws://127.0.0.1:{server.port}/faults/parallel/{room}", welcomed=False)
    for number in range(3):
        await client.send({"type": "wait", "id": number, "data": f"never-{number}"})
        await client.expect(type="began")
    for number in range(3):
        await client.expect(type="error", data={"code": "internal", "ref": number})
    await client.send({"type": "wait", "id": "next", "data": "next"})
    await client.expect(type="began", data="next")


async def test_database_work_has_more_than_one_thread(app_server, connect, room):
    """Two questions at once, that wait for each other, are both answered: on threads, off the event loop."""
    client = await parallel(app_server, connect, room)
    for ident in range(2):
        await client.send({"type": "meet", "id": ident})
    threads = [(await client.expect(type="reply", id=ident))["data"] for ident in range(2)]
    assert len(set(threads)) == 2
    assert all(name.startswith("chat.realtime.database") for name in threads)


async def test_disconnect_comes_after_the_running_handlers(app_server, connect, room):
    """When the socket is gone, handlers finish first, then ``disconnect`` runs, once."""
    [witness] = await habits(app_server, connect, f"{room}-witness", 1)
    await witness.send({"add": f"test.left.{room}"})
    await witness.expect(added=f"test.left.{room}")
    client = await parallel(app_server, connect, room)
    for name in "ab":
        await client.send({"type": "outlast", "data": name})
        await client.expect(type="began", data=name)
    await client.close()
    await witness.expect(event="left, 0 running")
