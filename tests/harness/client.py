"""A WebSocket client for tests: wait for the frame you mean, prove that none came, see all that did."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .server import ChatServer
from .waiting import LIMIT

_numbers = itertools.count(1)


class Client:
    """One connection. ``welcome`` is its first frame; ``received`` all frames in the order they came.

    Frames are read only while something is awaited: a client that is left alone is a slow one.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[dict[str, Any]] = []
        self.texts: list[str] = []  # the same, as they came
        self.welcome: dict[str, Any] = {}
        self._unread: list[dict[str, Any]] = []

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        cookie: str | None = None,
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        welcomed: bool = True,
        **options: Any,
    ) -> "Client":
        """Open a socket and read its ``welcome``. With a cookie the Origin is the server's own, unless given.

        Raises websockets.exceptions.InvalidStatus where the handshake is refused.
        """
        given = dict(headers or {})
        if cookie is not None:
            given["Cookie"] = cookie
            origin = origin or "http://" + url.split("/")[2]
        options = {"compression": None, "ping_interval": None, "max_size": None, "proxy": None} | options
        client = cls(await connect(url, origin=origin, additional_headers=given, close_timeout=2, **options))
        if welcomed:
            client.welcome = await client.expect(type="system", data={"event": "welcome"})
        return client

    @property
    def id(self) -> str:
        """The client id that the server gave."""
        ident: str = self.welcome["data"]["client_id"]
        return ident

    @property
    def worker(self) -> str:
        """The id of the worker that has this connection."""
        return self.id[:8]

    # --- sending -----------------------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        """Text and bytes as they are, anything else as JSON."""
        raw = isinstance(message, str | bytes)
        await self.socket.send(message if raw else json.dumps(message))

    async def send_chat(self, content: str, **keys: Any) -> None:
        """``keys``: further ones of the message (``id``, ``room``); ``data`` is merged."""
        data = {"content": content, **keys.pop("data", {})}
        await self.send({"type": "chat", "data": data, **keys})

    # --- receiving ---------------------------------------------------------------------------------------

    async def next(self, limit: float = LIMIT) -> dict[str, Any]:
        """The oldest unread frame. Raises ConnectionClosed, TimeoutError."""
        if not self._unread:
            await self._read(limit)
        return self._unread.pop(0)

    async def expect(self, limit: float = LIMIT, **matches: Any) -> dict[str, Any]:
        """The oldest unread frame with these keys; other frames stay unread. ``from`` is written ``from_``.

        A dict matches a dict that has at least its keys. Fails after ``limit`` seconds, or when the
        connection closes, and shows what came instead.
        """
        end = asyncio.get_running_loop().time() + limit
        looked = 0
        while True:
            for index in range(looked, len(self._unread)):
                if _matches(self._unread[index], matches):
                    return self._unread.pop(index)
            looked = len(self._unread)
            try:
                await self._read(end - asyncio.get_running_loop().time())
            except (TimeoutError, ConnectionClosed) as error:
                raise AssertionError(
                    f"no frame with {matches} ({type(error).__name__}: {error}); seen: {self._shown()}"
                ) from None

    async def nothing(self, **matches: Any) -> None:
        """Prove that no unread frame matches, up to now: a ping's answer comes after all that was before.

        That is what this client's worker has heard. For what another worker may have sent, await
        ``all_heard`` first.
        """
        await self.round_trip()
        found = [frame for frame in self._unread if _matches(frame, matches)]
        assert not found, f"came, and should not have: {found}"

    async def round_trip(self) -> None:
        """Send an application ping and wait for its pong: all frames that were sent before are here."""
        number = f"round-trip-{next(_numbers)}"
        await self.send({"type": "ping", "id": number})
        await self.expect(type="pong", id=number)

    async def all(self, **matches: Any) -> list[dict[str, Any]]:
        """Every frame, read or not, that matches and came up to now."""
        await self.round_trip()
        return [frame for frame in self.received if _matches(frame, matches)]

    async def take(self, count: int, limit: float = LIMIT, **matches: Any) -> list[dict[str, Any]]:
        """The next ``count`` frames that match."""
        return [await self.expect(limit, **matches) for _ in range(count)]

    def _shown(self) -> str:
        lines = [text[:300] for text in self.texts[-20:]]
        return "".join(f"\n  {line}" for line in lines) or "nothing"

    async def _read(self, limit: float) -> None:
        async with asyncio.timeout(max(limit, 0.001)):
            text = await self.socket.recv()
        assert isinstance(text, str), f"a binary frame came: {text!r}"
        self.texts.append(text)
        frame = json.loads(text)
        self.received.append(frame)
        self._unread.append(frame)

    # --- the end -----------------------------------------------------------------------------------------

    async def close(self, code: int = 1000) -> None:
        """Say goodbye, and read on until the server has answered."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.socket.close(code))
            tasks.create_task(self._discard())

    async def _discard(self) -> None:
        try:
            while True:
                await self.socket.recv()
        except ConnectionClosed:
            pass

    def abort(self) -> None:
        """Cut the line without a close frame."""
        self.socket.transport.abort()

    async def closed(self, limit: float = LIMIT) -> tuple[int, str]:
        """Read until the server has closed the connection: its close code and reason."""
        end = asyncio.get_running_loop().time() + limit
        while True:
            try:
                await self._read(end - asyncio.get_running_loop().time())
            except ConnectionClosed:
                received = self.socket.protocol.close_rcvd
                return (1006, "") if received is None else (received.code, received.reason)
            except TimeoutError:
                raise AssertionError(f"still open after {limit:g} s; seen: {self._shown()}") from None


async def on_each_worker(
    server: ChatServer,
    connect: Callable[[], Awaitable[Client]],
    attempts: int = 100,
) -> list[Client]:
    """Connect by ``connect()`` until each worker has one connection: one client a worker, the others closed.

    The kernel decides which worker accepts a connection, so several may be needed.
    """
    found: dict[str, Client] = {}
    spare: list[Client] = []
    try:
        for _ in range(attempts):
            client = await connect()
            if client.worker in found:
                spare.append(client)
            else:
                found[client.worker] = client
            if len(found) == server.worker_count:
                return list(found.values())
    finally:
        for client in spare:
            await client.close()
    raise AssertionError(f"{attempts} connections reached only {len(found)} of {server.worker_count} workers")


async def all_heard(server: ChatServer, *clients: Client) -> None:
    """Wait until these clients have all that was published so far: a global message comes after it."""
    speaker = await Client.connect(server.ws())
    content = f"all-heard-{next(_numbers)}-{speaker.id}"
    await speaker.send_chat(content)
    for client in (speaker, *clients):
        await client.expect(type="chat", room=None, data={"content": content})
    await speaker.close()


def _matches(frame: Any, wanted: dict[str, Any]) -> bool:
    if not isinstance(frame, dict):
        return False
    for key, value in wanted.items():
        name = key.removesuffix("_")
        if name not in frame:
            return False
        if isinstance(value, dict) and value:
            if not _matches(frame[name], value):
                return False
        elif frame[name] != value:
            return False
    return True
