"""The reading half of our WebSocket protocol: from the socket's bytes to the application's inbox.

Whole plain text frames go the short way, everything else through a ``Reader``; a few frames a turn of the
loop, and none while the application is behind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import allowance
from .codes import CloseCode, Violation, may_send
from .compression import inflate_whole
from .frames import CLOSE, COMPRESSED, FIN, PING, PONG, TEXT, read_simple
from .handshaking import HandshakingProtocol
from .ratelimit import Rate
from .reading import Event, Reader

if TYPE_CHECKING:
    from .connection import Connection

# Bytes that may arrive before the handshake is answered.
EARLY_BYTES = 64 * 1024
# Frames of one read that are worked on in one turn of the loop, at up to 10 µs each: 64 KiB of the smallest
# frames are 11,000, and would hold up everybody for a tenth of a second.
FRAMES_A_TURN = 64
# Pings, pongs and fragments, which are no messages: with a message of 65,536 fragments nobody is too fast,
# and who goes on at this rate takes 1 % of a processor.
OTHER_FRAMES = Rate(1_000, 70_000)
LAST_WORDS = 2.0  # seconds that the application has for what was said before a goodbye, or an error


class IncomingProtocol(HandshakingProtocol):
    """Reads frames, for as long as the application keeps up."""

    connection: Connection | None = None
    _late: bytes | None = None  # read, but not worked on yet
    _reader: Reader | None = None  # what is unfinished: there is one while something is
    _limit: int | None = None  # bytes of the largest message, where the consumer has its own
    _pieces = False  # whether the consumer reads larger ones in pieces
    reading_paused = False
    _others = 0.0  # the state of OTHER_FRAMES
    _ending = False  # whether the peer's goodbye or error was read: nothing after it is heard
    asked = False  # whether the application knows of the handshake
    last_seen = 0.0

    def dataReceived(self, data: bytes) -> None:
        self.last_seen = self.factory.server_class.clock()
        if self._ending:
            return  # what still comes is never buffered
        if self._late is not None:
            self._late += data  # arrived before the pause took effect
        else:
            self._take(data)

    def consumeData(self) -> None:
        """autobahn: the handshake is to be read. Nothing after it is autobahn's."""
        if self.state == self.STATE_CONNECTING:
            super().consumeData()

    def _take(self, data: bytes) -> None:
        """Work on what arrived."""
        if self.state == self.STATE_CONNECTING:
            if len(self.data) + len(data) > EARLY_BYTES:
                self.dropConnection(abort=True)
            elif self.asked:
                self.data += data  # the answer is on its way
            else:
                self._dataReceived(data)
            return
        limit = self.maxMessagePayloadSize if self._limit is None else self._limit
        start, size = 0, len(data)
        reader = self._reader
        for _ in range(FRAMES_A_TURN):
            if self._ending or self.state == self.STATE_CLOSED:
                return
            if reader is None or reader.disposable:
                reader = self._reader = None
                if self.state == self.STATE_OPEN:
                    start = self._read_simple_frames(data, start, limit)
                if start == size:
                    return
            elif start == size and not reader.waiting:
                return
            if self.reading_paused:
                break
            if reader is None:
                reader = self._reader = Reader(self.agreement, self._pieces)
            if reader.idle:
                reader.since = self.last_seen
            try:
                event, start = reader.read(data, start, limit)
            except Violation as error:
                self._end(partial(self._fail, error.code, error.reason))  # not its traceback, and our data
                return
            if event is not None:
                self._handle(event, reader)
            elif start < size:  # a fragment has ended
                self._count_other()
        self._put_off(data[start:])

    def _read_simple_frames(self, data: bytes, start: int, limit: int) -> int:
        """Deliver the whole text frames, plain or compressed by themselves, in ``data`` from ``start`` on;
        returns where the first other begins."""
        size = len(data)
        packed = self.agreement is not None and not self.agreement.client_window and not self._pieces
        while start < size and not self.reading_paused:
            found = read_simple(data, start, limit)
            if found is not None:
                payload, end = found
            elif packed:
                found = read_simple(data, start, limit, FIN | COMPRESSED | TEXT)
                inflated = None if found is None else inflate_whole(found[0], limit)
                if found is None or inflated is None:
                    break
                payload, end = inflated, found[1]
            else:
                break
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                break  # the reader says what is wrong
            self.application_queue.put_nowait({"type": "websocket.receive", "text": text}, len(payload))
            start = end
        return start

    def _handle(self, event: Event, reader: Reader) -> None:
        opcode, payload, size, piece = event
        if opcode == PING:
            self._count_other()
            self.onPing(payload)
        elif opcode == PONG:
            self._count_other()
            self.onPong(payload)
        elif opcode == CLOSE:
            self._end(partial(self._part, payload))
        else:
            reader.since = self.last_seen
            if self.state == self.STATE_OPEN:
                message: dict[str, Any] = {"type": "websocket.receive"}
                message["text" if opcode == TEXT else "bytes"] = payload
                if piece is not None:
                    message["piece"] = piece
                self.application_queue.put_nowait(message, size)

    def _count_other(self) -> None:
        """A frame came that no limit on messages sees: close who sends them without end."""
        if self.connection is None or not allowance.in_force() or self.state != self.STATE_OPEN:
            return
        if not getattr(self.connection.consumer, "limited", False):
            return
        state = OTHER_FRAMES.spend(self._others, self.last_seen)
        if state < 0:
            self.connection.hub.counters.rate_limited += 1
            self.connection.close(CloseCode.RATE_EXCEEDED)
        else:
            self._others = state

    def _end(self, how: Callable[[], None]) -> None:
        """The peer's goodbye, or its error: heard after what it said before, which may still be worked on."""
        self._ending = True
        self._reader = None
        if self.state != self.STATE_OPEN:
            how()
        elif not self.application_queue.when_done(how):
            self.factory.reactor.callLater(LAST_WORDS, how)

    def _fail(self, code: int, reason: str) -> None:
        """Close for an error of the peer's: the close frame goes out, then our half of the line closes."""
        if not self.failedByMe and self.state != self.STATE_CLOSED:
            self._fail_connection(code, reason)
            if self.state == self.STATE_CLOSING:
                self.transport.loseWriteConnection()

    def _part(self, payload: bytes) -> None:
        """A close frame came: answer it with its own code, or take it as the answer to ours, and hang up."""
        if self.failedByMe or self.state == self.STATE_CLOSED:
            return
        code = int.from_bytes(payload[:2], "big") if payload else None
        try:
            reason = payload[2:].decode()
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_PAYLOAD, "a close frame's reason is not UTF-8")
            return
        if code is not None and not may_send(code):
            self._fail(CloseCode.PROTOCOL_ERROR, "a close code that may not be sent")
            return
        self.remoteCloseCode, self.remoteCloseReason = code, reason
        self.wasClean = True
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=payload[2:] or None, isReply=True)
            self.dropConnection(abort=False)
            return
        if self.closeHandshakeTimeoutCall is not None:
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        self.dropConnection(abort=True)

    def _put_off(self, data: bytes) -> None:
        """Keep the rest for another turn of the loop; nothing more is read until it is worked off."""
        self._late = data
        self.transport.pauseProducing()
        if not self.reading_paused:
            self.factory.server_class.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._late is None or self.transport is None or self.reading_paused:
            return
        data, self._late = self._late, None
        self._take(data)
        if self._late is None and not self.reading_paused and self.state != self.STATE_CLOSED:
            self.transport.resumeProducing()

    def reading_since(self, now: float) -> float:
        """For how many seconds a message, or a piece of one, has been coming in."""
        reader = self._reader
        return 0.0 if reader is None or reader.idle or self.reading_paused else now - reader.since

    def pause_reading(self) -> None:
        """The application is behind: the peer has to wait."""
        if not self.reading_paused and self.transport is not None:
            self.reading_paused = True
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        if self.reading_paused:
            self.reading_paused = False
            self.last_seen = self.factory.server_class.clock()
            if self._reader is not None:
                self._reader.since = self.last_seen  # it was we who didn't listen
            if self._late is not None:
                self.factory.server_class.loop.call_soon(self._go_on)
            elif self.state != self.STATE_CLOSED:
                self.transport.resumeProducing()
