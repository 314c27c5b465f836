"""The channel layer: channels-redis' pub/sub layer with our links below it, and an in-memory twin.

What stays Channels': settings, hosts, serializers, sharding, one inner layer per event loop, and the
public API (``group_send`` and friends) for any consumer. What is ours: a hub receives its groups'
messages at once and in batches, publishes of one loop turn leave as one pipeline, every call has a
deadline, and subscriptions come back after Redis does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer, RedisPubSubLoopLayer
from channels_redis.utils import _wrap_close, create_pool, decode_hosts
from django.core.exceptions import ImproperlyConfigured

from . import config, log
from .errors import LayerUnavailable
from .groups import WORKERS
from .hub import FRAME
from .redis_link import RedisLink, settle
from .redis_publisher import PublisherLink
from .redis_subscriber import SubscriberLink

logger = logging.getLogger("chat.realtime")

# Called with the number of processes that took the message, or with the exception.
Published = Callable[[Any], None]

# A hub connection's channel name: "<CONNECTION><connection id>". A worker's: "<WORKER><worker id>".
CONNECTION = "realtime.connection."
WORKER = "realtime.worker."
WORKER_ID = slice(0, 8)  # of a connection id

# Seconds between two messages that carry the moment of their publishing, for the metrics: 12 bytes each.
STAMP_EVERY = 0.01


class RedisLayer(RedisPubSubChannelLayer):
    """``CHANNEL_LAYERS`` backend. CONFIG: ``hosts``, ``prefix``, as for channels-redis."""

    kind = "redis"

    def _get_layer(self) -> LoopLayer:
        loop = asyncio.get_running_loop()
        layer: LoopLayer | None = self._layers.get(loop)
        if layer is None:
            layer = self._layers[loop] = LoopLayer(channel_layer=self, **self._kwargs)
            _wrap_close(self, loop)
        return layer

    def for_loop(self) -> LoopLayer:
        """The layer of the running event loop: what a hub holds."""
        return self._get_layer()


class _Shard:
    """The two links to one Redis: one publishes, one is subscribed."""

    def __init__(self, host: dict[str, Any], layer: LoopLayer, number: int) -> None:
        # Waiting for messages must not time out, and the answers' shape must not depend on the server:
        # both are redis-py defaults since version 8 that don't fit a subscribed connection.
        settings = {**host, "socket_timeout": None, "protocol": 2}
        if not str(host.get("address", "")).startswith("unix") and "path" not in host:
            settings.setdefault("socket_keepalive", True)  # a UNIX socket has no such thing
        settings.setdefault("socket_connect_timeout", config.current().redis_timeout)
        self.pool = create_pool(settings)
        workers = layer._get_group_channel_name(WORKERS)
        self.publisher = PublisherLink(self.pool, f"publisher {number}", workers)
        # A worker that hears nothing does not publish either: what it says would not come back to its own
        # clients, and would be acknowledged all the same.
        self.subscriber = SubscriberLink(
            self.pool,
            f"subscriber {number}",
            layer.take,
            on_lost=self.publisher.cut,
            restore=lambda: layer.restore(self.publisher),
        )
        self.publisher.on_change = self.subscriber.on_change = layer.changed

    async def publish(self, channel: str, message: bytes) -> int:
        """Returns how many processes were subscribed."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.publisher.publish(channel, message, lambda result: settle(answer, result))
        return await reached(answer)

    async def subscribe(self, channel: str) -> None:
        if channel not in self.subscriber.channels:
            await self.subscriber.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        self.subscriber.unsubscribe(channel)

    async def flush(self) -> None:
        await self.publisher.close()
        await self.subscriber.close()
        self.subscriber.channels.clear()


class _HubChannels:
    """Channels' group calls, for hub connections too: their membership is the hub's business."""

    hub: Any

    async def group_add(self, group: str, channel: str) -> None:
        if not channel.startswith(CONNECTION):
            await super().group_add(group, channel)  # type: ignore[misc]  # the layer's
        elif (connection := _hub_connection(self.hub, channel)) is not None:
            await self.hub.join(group, connection)

    async def group_discard(self, group: str, channel: str) -> None:
        if not channel.startswith(CONNECTION):
            await super().group_discard(group, channel)  # type: ignore[misc]  # the layer's
        elif (connection := _hub_connection(self.hub, channel)) is not None:
            self.hub.leave(group, connection)


class LoopLayer(_HubChannels, RedisPubSubLoopLayer):
    """The layer of one event loop. A hub uses ``subscribe``, ``unsubscribe`` and ``publish``."""

    def __init__(
        self, hosts: Any = None, prefix: str = "asgi", channel_layer: Any = None, **kwargs: Any
    ) -> None:
        addresses = decode_hosts(hosts)
        # Redis' channels know no database numbers, which is what people keep deployments apart with.
        database = create_pool(addresses[0]).connection_kwargs.get("db") or 0
        prefix = f"{prefix}:{database}" if database else prefix
        super().__init__(hosts=[], prefix=prefix, channel_layer=channel_layer, **kwargs)
        self._shards = [_Shard(host, self, number) for number, host in enumerate(addresses)]
        self.hub: Any = None
        # Changes whenever a connection comes or goes: what was true of other processes may not be now.
        self.epoch = 0
        # What to write to a Redis that came back; a census puts itself here.
        self.restore: Callable[[RedisLink], list[tuple[Any, ...]]] = lambda link: []
        self._loop = asyncio.get_running_loop()
        self._hub_groups: dict[bytes, str] = {}  # Redis channel → group
        self._batch: list[tuple[str, dict[str, Any]]] = []
        self._stamp_next = 0.0

    # --- for the hub ------------------------------------------------------------------------------

    def subscribe(self, group: str) -> asyncio.Future[None]:
        """Receive a group's messages; resolves when Redis has confirmed, fails with LayerUnavailable."""
        channel = self._get_group_channel_name(group)
        self._hub_groups[channel.encode()] = group
        confirmed = self._get_shard(channel).subscriber.subscribe(channel)
        answer: asyncio.Future[None] = self._loop.create_future()
        confirmed.add_done_callback(
            lambda done: settle(answer, LayerUnavailable() if done.exception() else None)
        )
        # Everybody may have stopped waiting for it: then its error is nobody's.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    def unsubscribe(self, group: str) -> None:
        channel = self._get_group_channel_name(group)
        self._hub_groups.pop(channel.encode(), None)
        if channel not in self.groups:
            self._get_shard(channel).subscriber.unsubscribe(channel)

    def publish(self, group: str, message: dict[str, Any], done: Published | None = None) -> None:
        """Send a message to a group's members everywhere; returns at once, ``done`` gets the outcome."""
        channel = self._get_group_channel_name(group)
        publisher = self._get_shard(channel).publisher
        if self._loop.time() >= self._stamp_next and publisher.up and message.get("type") == FRAME:
            self._stamp_next = self._loop.time() + STAMP_EVERY
            message = {**message, "at": publisher.now()}
        publisher.publish(channel, self.channel_layer.serialize(message), done)

    def now(self, group: str) -> float:
        """The time by the clock of a group's Redis, which all workers share: messages' stamps say it."""
        return self._get_shard(self._get_group_channel_name(group)).publisher.now()

    def link_of(self, group: str) -> RedisLink:
        """The connection for other commands about a group, on the Redis that has it."""
        link: RedisLink = self._get_shard(self._get_group_channel_name(group)).publisher
        return link

    def resubscribe(self) -> None:
        """Make the subscribed connection of the workers' group anew: it does not bring what it should."""
        self._get_shard(self._get_group_channel_name(WORKERS)).subscriber.cut()

    def look(self) -> None:
        """Once in a while: let each publisher ask what it has to know."""
        for shard in self._shards:
            shard.publisher.look()

    def links(self) -> list[RedisLink]:
        """One connection a Redis."""
        return [shard.publisher for shard in self._shards]

    def changed(self) -> None:
        """A connection has come or gone."""
        self.epoch += 1

    @property
    def reconnects(self) -> int:
        """How often a Redis came back; it may have come back empty."""
        return sum(link.connects for link in self.links())

    async def relief(self) -> None:
        """Wait while very many publishes are under way: who publishes waits, so who sends is read slower."""
        for link in self.links():
            await link.relief()

    @property
    def round_trip(self) -> float:
        """Seconds that the last question took, of the slowest Redis."""
        return max(shard.publisher.round_trip for shard in self._shards)

    @property
    def up(self) -> bool:
        """Whether every Redis is connected, both ways."""
        return all(shard.publisher.up and shard.subscriber.up for shard in self._shards)

    async def ping(self, timeout: float) -> bool:
        """Whether every Redis answers within ``timeout`` seconds, and the subscriptions stand."""
        try:
            for shard in self._shards:
                await shard.publisher.call("PING", timeout=timeout)
        except (OSError, TimeoutError):
            return False
        return all(shard.subscriber.up or not shard.subscriber.channels for shard in self._shards)

    def take(self, channel: bytes, data: bytes) -> None:
        """A message came in. All that one read of the socket brought is delivered together."""
        group = self._hub_groups.get(channel)
        if group is not None:
            try:
                message = self.channel_layer.deserialize(data)
            except Exception:  # noqa: BLE001 (whatever the serializer makes of somebody else's bytes)
                log.event(logger, logging.ERROR, "layer_message_broken", group=group)
                return
            batch = self._batch
            if not batch:
                self._loop.call_soon(self._deliver)
            batch.append((group, message))
        name = channel.decode()
        if name in self.channels:
            self.channels[name].put_nowait(data)
        elif name in self.groups:
            for member in self.groups[name]:
                if member in self.channels:
                    self.channels[member].put_nowait(data)

    def _deliver(self) -> None:
        batch, self._batch = self._batch, []
        self.hub.deliver(batch)

    # --- Channels' API ----------------------------------------------------------------------------

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if channel.startswith(CONNECTION):
            ident = channel[len(CONNECTION) :]
            await self._publish_to_worker(ident, message)
        else:
            await super().send(channel, message)

    async def _publish_to_worker(self, ident: str, message: dict[str, Any]) -> None:
        group = WORKER + ident[WORKER_ID]
        answer: asyncio.Future[int] = self._loop.create_future()
        self.publish(
            group,
            {"type": "realtime.control", "to": ident, "message": message},
            lambda result: settle(answer, result),
        )
        await reached(answer)


class MemoryLayer(_HubChannels, InMemoryChannelLayer):
    """``CHANNEL_LAYERS`` backend for one process: development and tests without Redis."""

    kind = "memory"
    up = True
    reconnects = epoch = 0  # there is nothing to connect to

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("hosts", None)
        kwargs.pop("prefix", None)
        super().__init__(**kwargs)
        self.hub: Any = None
        self._batch: list[tuple[str, dict[str, Any]]] = []

    def for_loop(self) -> MemoryLayer:
        return self

    def subscribe(self, group: str) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.set_result(None)
        return answer

    def unsubscribe(self, group: str) -> None:
        pass

    def publish(self, group: str, message: dict[str, Any], done: Published | None = None) -> None:
        """Deliver in the hub's next loop turn, whatever thread this is called on."""
        if self.hub is None or self.hub.loop.is_closed():
            if done is not None:
                done(LayerUnavailable("The in-memory layer reaches only the server's own process."))
            return
        if message.get("type") == FRAME:
            message = {**message, "at": self.hub.loop.time()}
        self.hub.loop.call_soon_threadsafe(self._take, group, message)
        if done is not None:
            done(int(group in self.hub.groups or group in self.hub.listening))

    def now(self, group: str) -> float:
        now: float = self.hub.loop.time()
        return now

    def resubscribe(self) -> None:
        """Nothing to do: there is no connection in between."""

    async def relief(self) -> None:
        """Let what was published be delivered first."""
        while len(self._batch) > 256:
            await asyncio.sleep(0)

    def _take(self, group: str, message: dict[str, Any]) -> None:
        if not self._batch:
            self.hub.loop.call_soon(self._deliver)
        self._batch.append((group, message))

    def _deliver(self) -> None:
        batch, self._batch = self._batch, []
        self.hub.deliver(batch)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if channel.startswith(CONNECTION):
            ident = channel[len(CONNECTION) :]
            if self.hub is not None:
                self.hub.deliver_to_connection(ident, message)
        else:
            await super().send(channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.publish(group, message)
        await super().group_send(group, message)


async def reached(answer: asyncio.Future[int]) -> int:
    """Wait for the layer's word about a publish: how many processes took it. Raises LayerUnavailable."""
    try:
        return await answer
    except (OSError, TimeoutError) as error:
        raise LayerUnavailable() from error


def get_layer() -> RedisLayer | MemoryLayer:
    """The default channel layer. Raises ImproperlyConfigured when it is not one of ours."""
    layer = get_channel_layer()
    if not isinstance(layer, RedisLayer | MemoryLayer):
        raise ImproperlyConfigured(
            "CHANNEL_LAYERS['default'] must use chat.realtime.layers.RedisLayer or MemoryLayer"
        )
    return layer


def _hub_connection(hub: Any, channel: str) -> Any:
    return None if hub is None else hub.connections.get(channel[len(CONNECTION) :])
