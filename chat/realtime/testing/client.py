"""A WebSocket client for tests: wait for the frame you mean, prove that none came, see all that did."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from .proxy import reset
from .waiting import LIMIT


class NotSeen(AssertionError):
    """What was expected did not come, or what was not did. The text shows the last frames seen; the
    connection and the application behind it go on."""


class Client:
    """One connection. ``received`` has all frames in the order they came: JSON decoded, other text as it is,
    binary ones as bytes.

    Frames are read only while something is awaited: a client that is left alone is a slow one.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.received: list[Any] = []
        self.texts: list[str] = []  # the text frames, as they came
        self.unread: list[Any] = []  # those that nobody has taken yet

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        cookie: str | None = None,
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = None,
        subprotocols: Sequence[str] = (),
        **options: Any,
    ) -> Self:
        """Open a socket. With a cookie the Origin is the server's own, unless given; ``token`` is sent as
        ``Authorization: Bearer``. ``options``: those of websockets.asyncio.client.connect.

        Raises websockets.exceptions.InvalidStatus where the handshake is refused.
        """
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        if subprotocols:
            options["subprotocols"] = [Subprotocol(name) for name in subprotocols]
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

    async def send_json(self, message: Any) -> None:
        """Any JSON value, a plain text too."""
        await self.socket.send(json.dumps(message))

    def send_raw(self, data: bytes) -> None:
        """Bytes for the line itself, past every rule: broken or half frames (``raw.frame`` builds them)."""
        self.socket.transport.write(data)

    @property
    def subprotocol(self) -> str | None:
        """The one that the server chose."""
        return self.socket.subprotocol

    # --- receiving ---------------------------------------------------------------------------------------

    async def next(self, limit: float = LIMIT) -> Any:
        """The oldest unread frame. Raises ConnectionClosed, TimeoutError."""
        if not self.unread:
            await self._read(limit)
        return self.unread.pop(0)

    async def expect(self, limit: float = LIMIT, **wanted: Any) -> dict[str, Any]:
        """The oldest unread frame with these keys; other frames stay unread. ``from`` is written ``from_``.

        A dict matches a dict that has at least its keys; ``event`` is short for ``data={"event": ...}``.
        Raises NotSeen after ``limit`` seconds, or when the connection closes.
        """
        __tracebackhide__ = True  # pytest shows the test instead
        found: dict[str, Any] = await self._find(lambda frame: matches(frame, wanted), wanted, limit)
        return found

    async def expect_error(self, code: str, limit: float = LIMIT, **wanted: Any) -> dict[str, Any]:
        """The next ``error`` frame, whose code must be this one; ``wanted`` are keys of its ``data``."""
        __tracebackhide__ = True  # pytest shows the test instead
        frame = await self.expect(limit, type="error")
        if not matches(frame["data"], {"code": code, **wanted}):
            raise NotSeen(f"no error {code} {wanted or ''}, but: {frame['data']}")
        return frame

    async def expect_bytes(self, limit: float = LIMIT) -> bytes:
        """The oldest unread binary frame. Raises NotSeen."""
        __tracebackhide__ = True  # pytest shows the test instead
        found: bytes = await self._find(lambda frame: isinstance(frame, bytes), "bytes", limit)
        return found

    async def expect_close(self, code: int, limit: float = LIMIT) -> str:
        """Read until the server has closed; its reason. Raises NotSeen when it does not, or with another
        code."""
        __tracebackhide__ = True  # pytest shows the test instead
        closed, reason = await self.closed(limit)
        if closed != code:
            raise NotSeen(f"closed with {closed} ({reason!r}), not {code}; seen: {self._shown()}")
        return reason

    async def expect_nothing(self, within: float = 0.2, **wanted: Any) -> None:
        """Listen for ``within`` seconds; raises NotSeen if a frame like this came, or was there unread.

        A pause proves little: where the order is known, await something that must come later instead.
        """
        __tracebackhide__ = True  # pytest shows the test instead
        try:
            frame = await self.expect(within, **wanted)
        except NotSeen:
            return
        raise NotSeen(f"came, and should not have: {frame}")

    async def _find(self, fits: Callable[[Any], bool], what: Any, limit: float) -> Any:
        __tracebackhide__ = True  # pytest shows the test instead
        end = asyncio.get_running_loop().time() + limit
        looked = 0
        while True:
            for index in range(looked, len(self.unread)):
                if fits(self.unread[index]):
                    return self.unread.pop(index)
            looked = len(self.unread)
            try:
                await self._read(end - asyncio.get_running_loop().time())
            except (TimeoutError, ConnectionClosed) as error:
                why = f"in {limit:g} s" if isinstance(error, TimeoutError) else f"until the end ({error})"
                raise NotSeen(f"no frame with {what} {why}; seen: {self._shown()}") from None

    async def take(self, count: int, limit: float = LIMIT, **wanted: Any) -> list[dict[str, Any]]:
        """The next ``count`` frames that match."""
        return [await self.expect(limit, **wanted) for _ in range(count)]

    def _shown(self) -> str:
        lines = [_short(frame) for frame in self.received[-20:]]
        return "".join(f"\n  {line}" for line in lines) or "nothing"

    async def _read(self, limit: float) -> None:
        async with asyncio.timeout(max(limit, 0.001)):
            frame: Any = await self.socket.recv()
        if isinstance(frame, str):
            self.texts.append(frame)
            try:
                frame = json.loads(frame)
            except ValueError:
                pass  # text that is no JSON stays as it is
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
        """Drop the line without a close frame: the server gets a RST."""
        reset(self.socket.transport)

    def stop_reading(self) -> None:
        """Take nothing from the kernel any more: its buffers fill up (some 100 KiB), then the server's.
        For a client that is slow from its first byte, with small buffers, see QuietSocket."""
        self.socket.transport.pause_reading()

    def read_again(self) -> None:
        self.socket.transport.resume_reading()

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
                raise NotSeen(f"still open after {limit:g} s; seen: {self._shown()}") from None


def matches(frame: Any, wanted: dict[str, Any]) -> bool:
    """Whether a frame has these keys and values; a dict matches one that has at least its keys."""
    if not isinstance(frame, dict):
        return False
    for key, value in wanted.items():
        name = key.removesuffix("_")
        if name == "event" and name not in frame:
            if not matches(frame.get("data"), {name: value}):
                return False
            continue
        if name not in frame:
            return False
        if isinstance(value, dict) and value:
            if not matches(frame[name], value):
                return False
        elif frame[name] != value:
            return False
    return True


def _short(frame: Any) -> str:
    return (repr(frame) if isinstance(frame, bytes) else json.dumps(frame, ensure_ascii=False))[:300]
