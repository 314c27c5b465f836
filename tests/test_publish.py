"""Sending from anywhere: views, threads, other processes, forks; to rooms, all, users, one connection."""

import json
import threading
import time
import urllib.parse

import pytest

from chat.realtime import LayerUnavailable, broadcast_all, send_to_connection
from tests.kit import ChatServer, all_heard, eventually, on_each_worker

DATA = {"text": "ü", "n": 1}
EVERYWHERE = ("sync", "async", "shell")


def publish(server: ChatServer, where: str, call: str, *args: object) -> dict:
    """Call a function of `chat.realtime` in a sync view, an async view or another process: its receipt."""
    if where == "shell":
        return server.django(
            "from dataclasses import asdict\nfrom chat import realtime\n"
            "result = asdict(getattr(realtime, call)(*args))",
            call=call,
            args=args,
        )
    query = urllib.parse.urlencode({"call": call, "args": json.dumps(args)})
    status, _, body = server.get(f"/test/publish/{where}?{query}")
    assert status == 200, server.recent_output()
    return json.loads(body)


async def in_room(server: ChatServer, connect, room: str, **options):
    """A client in the room on each worker."""
    return await on_each_worker(server, lambda: connect(server.ws(room), **options))


# --- from everywhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_to_a_room(app_server, connect, room, where):
    """`broadcast_room` reaches the room on every worker and nobody else; the receipt counts the workers."""
    clients = await in_room(app_server, connect, room)
    other = await connect(app_server.ws(room + "-2"))
    receipt = publish(app_server, where, "broadcast_room", room, "notification", DATA)
    assert receipt["workers"] == 2
    for client in clients:
        frame = await client.expect(type="notification")
        assert (frame["id"], frame["room"], frame["from"], frame["data"]) == (receipt["id"], room, None, DATA)
        assert "user" not in frame
    await all_heard(app_server, other)
    await other.nothing(type="notification")


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_to_everybody(app_server, connect, room, where):
    """`broadcast_all` reaches every connection of every worker, in rooms, in none, and of other apps."""
    clients = [*await in_room(app_server, connect, room), await connect(app_server.ws())]
    app = await connect(f"ws://127.0.0.1:{app_server.port}/test/counter/{room}", welcomed=False)
    await app.expect(type="ready")
    receipt = publish(app_server, where, "broadcast_all", "system", DATA)
    assert receipt["workers"] == 2
    for client in (*clients, app):
        await client.expect(type="system", id=receipt["id"], room=None, data=DATA)


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_to_a_user(app_server, connect, room, where):
    """`send_to_user` reaches all of that user's connections, wherever they are, and nobody else's."""
    ada = app_server.create_user(f"ada-{room}")
    bob = app_server.create_user(f"bob-{room}")
    hers = await in_room(app_server, connect, room, cookie=ada.cookie)
    hers.append(await connect(app_server.ws(), cookie=ada.cookie))
    others = [await connect(app_server.ws(room), cookie=bob.cookie), await connect(app_server.ws(room))]
    receipt = publish(app_server, where, "send_to_user", ada.id, "notification", DATA)
    assert receipt["workers"] == 2
    for client in hers:
        await client.expect(type="notification", id=receipt["id"], data=DATA)
    await all_heard(app_server, *others)
    for client in others:
        await client.nothing(type="notification")


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_to_one_connection(app_server, connect, room, where):
    """`send_to_connection` reaches that connection alone, whichever worker has it."""
    clients = await in_room(app_server, connect, room)
    for client in clients:
        receipt = publish(app_server, where, "send_to_connection", client.id, "notification", DATA)
        assert receipt["workers"] == 1
        await client.expect(type="notification", id=receipt["id"])
    await all_heard(app_server, *clients)
    for client in clients:
        assert len(await client.all(type="notification")) == 1


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_to_nobody(app_server, room, where):
    """A room without members, a user without connections, a worker that is gone: nobody took it, no error."""
    assert publish(app_server, where, "broadcast_room", room, "notification", DATA)["workers"] == 0
    assert publish(app_server, where, "send_to_user", 987654, "notification", DATA)["workers"] == 0
    for ident in ("f" * 32, "", "*", "\r\n", "x"):
        assert publish(app_server, where, "send_to_connection", ident, "notification", DATA)["workers"] == 0


async def test_in_one_process_views_publish_too(start_server, connect, room):
    """On the in-memory layer the server's own views reach its connections; other processes are told no."""
    server = start_server(settings="tests.settings")
    client = await connect(server.ws(room))
    for where in ("sync", "async"):
        receipt = publish(server, where, "broadcast_room", room, "notification", DATA)
        assert receipt["workers"] == 1
        await client.expect(type="notification", id=receipt["id"])
        publish(server, where, "send_to_connection", client.id, "notification", DATA)
        await client.expect(type="notification")
    with pytest.raises(RuntimeError, match=r"LayerUnavailable: The in-memory layer reaches only"):
        publish(server, "shell", "broadcast_room", room, "notification", DATA)


async def test_from_many_threads_at_once(app_server, connect, room):
    """Threads of one process publish side by side: nothing is lost, each has its receipt."""
    clients = await in_room(app_server, connect, room)
    ids = await app_server.adjango(
        """
from concurrent.futures import ThreadPoolExecutor
from chat.realtime import broadcast_room
with ThreadPoolExecutor(8) as threads:
    receipts = list(threads.map(lambda n: broadcast_room(room, "notification", {"n": n}), range(80)))
assert {receipt.workers for receipt in receipts} == {2}
result = [receipt.id for receipt in receipts]
""",
        room=room,
    )
    for client in clients:
        frames = await client.take(80, type="notification")
        assert sorted(frame["id"] for frame in frames) == sorted(ids)


async def test_after_a_fork(app_server, connect, room):
    """A task worker that forks after it has published (Celery, gunicorn) publishes on, parent and child."""
    client = await connect(app_server.ws(room))
    await app_server.adjango(
        """
import os
from chat.realtime import broadcast_room
broadcast_room(room, "notification", "before")
child = os.fork()
if child == 0:
    try:
        broadcast_room(room, "notification", "child")
    finally:
        os._exit(0)
os.waitpid(child, 0)
broadcast_room(room, "notification", "parent")
""",
        room=room,
    )
    frames = await client.take(3, type="notification")
    assert [frame["data"] for frame in frames] == ["before", "child", "parent"]


async def test_from_a_script_with_loops_of_its_own(app_server, connect, room):
    """`asyncio.run` several times in one process: each loop has a layer, and leaves nothing open."""
    client = await connect(app_server.ws(room))
    await app_server.adjango(
        """
import asyncio
from chat.realtime import abroadcast_room
for number in range(3):
    assert asyncio.run(abroadcast_room(room, "notification", number)).workers == 1
""",
        room=room,
    )
    frames = await client.take(3, type="notification")
    assert [frame["data"] for frame in frames] == [0, 1, 2]


# --- what may be said -----------------------------------------------------------------------------------


async def test_some_may_be_left_out_and_a_sender_named(app_server, connect, room):
    """`exclude`, `sender` and `user` of a broadcast."""
    ada, bob = await in_room(app_server, connect, room)
    user = {"id": 7, "username": "robot"}
    await app_server.adjango(
        "from chat.realtime import broadcast_room\n"
        "broadcast_room(room, 'chat', {'content': 'hi'}, exclude=[ada], sender='robot-1', user=user)",
        room=room,
        ada=ada.id,
        user=user,
    )
    await bob.expect(type="chat", from_="robot-1", user=user)
    await all_heard(app_server, ada)
    await ada.nothing(type="chat")


async def test_what_json_can_not_say_is_sent_to_nobody(app_server, connect, room):
    """Data without a JSON form raises TypeError where it was given, before anything is published."""
    client = await connect(app_server.ws(room))
    with pytest.raises(RuntimeError, match="TypeError"):
        await app_server.adjango(
            "from chat.realtime import broadcast_room\nbroadcast_room(room, 'x', object())", room=room
        )
    await client.nothing(type="x")


async def test_order_is_kept_from_one_publisher(app_server, connect, room):
    """What one process publishes to a room one after the other arrives in that order everywhere."""
    clients = await in_room(app_server, connect, room)
    await app_server.adjango(
        "from chat.realtime import broadcast_room\n"
        "for number in range(50):\n    broadcast_room(room, 'notification', number)",
        room=room,
    )
    for client in clients:
        frames = await client.take(50, type="notification")
        assert [frame["data"] for frame in frames] == list(range(50))


# --- when the layer can't be reached ----------------------------------------------------------------------


def test_without_a_server_the_memory_layer_says_so():
    """No server in this process: LayerUnavailable at once, sync, from a thread too."""
    caught = []

    def attempt() -> None:
        for call in (lambda: broadcast_all("x", 1), lambda: send_to_connection("f" * 32, "x", 1)):
            with pytest.raises(LayerUnavailable):
                call()
            caught.append(True)

    attempt()
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join(5)
    assert len(caught) == 4


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_without_redis_publishing_fails_in_time(own_redis, start_server, fault):
    """Redis gone or frozen: LayerUnavailable within the deadline (and a margin), and soon well again."""
    deadline = {"FAULT_CONFIG": '{"redis_timeout": 0.5}'}
    server = start_server(own_redis.url, settings="tests.fault_settings", env=deadline)
    publish(server, "shell", "broadcast_all", "x", 1)
    if fault == "killed":
        own_redis.kill()
    else:
        own_redis.freeze()
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="LayerUnavailable"):
        publish(server, "shell", "broadcast_all", "x", 1)
    assert time.monotonic() - began < 5
    if fault == "killed":
        own_redis.start()
    else:
        own_redis.thaw()

    def works() -> bool:
        try:
            return publish(server, "shell", "broadcast_all", "x", 1)["workers"] >= 0
        except RuntimeError:
            return False

    await eventually(works, "publishing again")
