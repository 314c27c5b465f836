"""A consumer whose handlers do what handlers must not do."""

import asyncio
import gc
import os
import re
import time
from collections import Counter
from typing import Any

from channels.db import database_sync_to_async

from chat.realtime import Incoming, RealtimeConsumer, on
from chat.realtime.census import census_of
from chat.realtime.connection import State
from chat.realtime.layers import LoopLayer

# Of what every connection has one.
OBJECTS = (
    "Connection",
    "WebSocketProtocol",
    "Inbox",
    "RoomChatConsumer",
    "EagerTransport",
    "Channel",
    "Task",
)


class FaultConsumer(RealtimeConsumer):
    """``data`` is a number of seconds, where one is needed. ``?linger=5``: its disconnect() takes so long."""

    auth = "none"

    async def connected(self) -> None:
        """Says what a client in the tests waits for."""
        await self.reply("system", {"event": "welcome", "client_id": self.connection.id})

    async def disconnect(self, code: int) -> None:
        await asyncio.sleep(float(self.handshake.query.get("linger", 0)))

    @on("sleep")
    async def sleep(self, message: Incoming) -> None:
        """Waits, as for an answer that does not come."""
        await asyncio.sleep(message.data)
        await self.reply("done", None, id=message.id)

    @on("thread")
    async def thread(self, message: Incoming) -> None:
        """Waits on a database thread, where nothing can end it."""
        await database_sync_to_async(time.sleep)(message.data)

    @on("block")
    async def block(self, message: Incoming) -> None:
        """Blocks the event loop."""
        time.sleep(message.data)  # noqa: ASYNC251 - the fault that is to be survived

    @on("spin")
    async def spin(self, message: Incoming) -> None:
        """Blocks the event loop in C code that never gives the interpreter lock away (2**40 steps)."""
        re.match(r"(?:a+)+$", "a" * 40 + "b")

    @on("bug")
    async def bug(self, message: Incoming) -> None:
        """Fails."""
        raise RuntimeError("a bug, made for the test")

    @on("cancel")
    async def cancel(self, message: Incoming) -> None:
        """Fails in the way that ends tasks."""
        raise asyncio.CancelledError

    @on("echo")
    async def echo(self, message: Incoming) -> None:
        await self.reply("echo", message.data, id=message.id)

    @on("state")
    async def state(self, message: Incoming) -> None:
        """What this worker holds at this moment."""
        await self.reply("state", _state(self), id=message.id)


def _state(consumer: FaultConsumer) -> dict[str, Any]:
    """Numbers of things that come with connections, this one's own included."""
    hub = consumer.hub
    server = consumer.scope["extensions"]["realtime.transport"].factory.server_class
    found: dict[str, Any] = {
        "pid": os.getpid(),
        "tasks": len(asyncio.all_tasks()),
        "connections": len(hub.connections),
        "open": sum(known.state is State.OPEN for known in hub.connections.values()),
        "groups": len(hub.groups),
        "counted": sum(census_of(hub).counted.values()),
        "sockets": len(server.sockets),
        "arriving": len(server.arriving),
        "applications": len(server.connections),
        "files": len(os.listdir("/proc/self/fd")),
    }
    gc.collect()
    kinds = Counter(type(thing).__name__ for thing in gc.get_objects())
    found["objects"] = {name: kinds[name] for name in OBJECTS}
    if isinstance(hub.layer, LoopLayer):
        found["subscribed"] = sum(len(shard.subscriber.channels) for shard in hub.layer._shards)
        found["unconfirmed"] = sum(len(shard.subscriber._confirming) for shard in hub.layer._shards)
        found["waiting"] = sum(
            len(link._queued) + len(link._written)
            for shard in hub.layer._shards
            for link in (shard.publisher, shard.subscriber)
        )
    return found
