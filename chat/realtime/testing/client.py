"""A WebSocket client for tests: wait for the frame you mean, prove that none came, see all that did."""

import asyncio
import json
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from .waiting import LIMIT


class Client:
    """One connection. ``received`` has all frames in the order they came.

    Frames are read only while something is awaited: a client that is left alone is a slow one.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[dict[str, Any]] = []
        self.texts: list[str] = []  # the same, as they came
        self.unread: list[dict[str, Any]] = []  # those that nobody has taken yet

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        cookie: str | None = None,
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Self:
        """Open a socket. With a cookie the Origin is the server's own, unless given.

        Raises websockets.exceptions.InvalidStatus where the handshake is refused.
        """
        given = dict(headers or {})
        if cookie is not None:
            given["Cookie"] = cookie
            origin = origin or "http://" + url.split("/")[2]
        options = {"compression": None, "ping_interval": None, "max_size": None, "proxy": None} | options
        given_origin = None if origin is None else Origin(origin)
        return cls(
            await connect(url, origin=given_origin, additional_headers=given, close_timeout=2, **options)
        )

    # --- sending -----------------------------------------------------------------------------------------

    async def send(self, message: Any) -> None:
        """Text and bytes as they are, anything else as JSON."""
        raw = isinstance(message, str | bytes)
        await self.socket.send(message if raw else json.dumps(message))

    # --- receiving ---------------------------------------------------------------------------------------

    async def next(self, limit: float = LIMIT) -> dict[str, Any]:
        """The oldest unread frame. Raises ConnectionClosed, TimeoutError."""
        if not self.unread:
            await self._read(limit)
        return self.unread.pop(0)

    async def expect(self, limit: float = LIMIT, **wanted: Any) -> dict[str, Any]:
        """The oldest unread frame with these keys; other frames stay unread. ``from`` is written ``from_``.

        A dict matches a dict that has at least its keys. Fails after ``limit`` seconds, or when the
        connection closes, and shows what came instead.
        """
        end = asyncio.get_running_loop().time() + limit
        looked = 0
        while True:
            for index in range(looked, len(self.unread)):
                if matches(self.unread[index], wanted):
                    return self.unread.pop(index)
            looked = len(self.unread)
            try:
                await self._read(end - asyncio.get_running_loop().time())
            except (TimeoutError, ConnectionClosed) as error:
                raise AssertionError(
                    f"no frame with {wanted} ({type(error).__name__}: {error}); seen: {self._shown()}"
                ) from None

    async def take(self, count: int, limit: float = LIMIT, **wanted: Any) -> list[dict[str, Any]]:
        """The next ``count`` frames that match."""
        return [await self.expect(limit, **wanted) for _ in range(count)]

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
        self.unread.append(frame)

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


def matches(frame: Any, wanted: dict[str, Any]) -> bool:
    """Whether a frame has these keys and values; a dict matches one that has at least its keys."""
    if not isinstance(frame, dict):
        return False
    for key, value in wanted.items():
        name = key.removesuffix("_")
        if name not in frame:
            return False
        if isinstance(value, dict) and value:
            if not matches(frame[name], value):
                return False
        elif frame[name] != value:
            return False
    return True
