"""Frames of RFC 6455 as they come in: checked, unmasked, put together, inflated. No socket and no clock in
here.

A ``Reader`` takes bytes in whatever parts they come and gives events, one at a time. It holds no more of a
message than its limit, and of one that is read in pieces no more than a piece.
"""

from __future__ import annotations

import codecs
from typing import Any, NamedTuple

from .codes import CloseCode, Violation
from .compression import OVERHEAD, Agreement, Inflater
from .frames import BINARY, CLOSE, COMPRESSED, CONTINUATION, FIN, PING, PONG, TEXT, unmask

PIECE = 65_536  # bytes of the largest piece, and of the largest message that never comes in pieces
LONGEST_HEADER = 14
_OUTSIDE = -1  # between two frames
_DATA = (TEXT, BINARY)
_CONTROL = (CLOSE, PING, PONG)
_utf8 = codecs.getincrementaldecoder("utf-8")


class Event(NamedTuple):
    """A message, a piece of one, or a control frame."""

    opcode: int  # TEXT, BINARY, CLOSE, PING or PONG
    payload: Any  # str for TEXT, bytes for all others
    size: int  # bytes
    piece: tuple[int, bool] | None = None  # its number from 0, and whether it is the last one


class Reader:
    """What is unfinished of one connection's input. ``since`` is the caller's: when that began."""

    __slots__ = (
        "_agreement",
        "_body",
        "_context",
        "_control",
        "_decoder",
        "_fin",
        "_frame",
        "_frames",
        "_head",
        "_inflater",
        "_key",
        "_left",
        "_number",
        "_opcode",
        "_pieces",
        "_read",
        "_size",
        "since",
    )

    def __init__(self, agreement: Agreement | None = None, pieces: bool = False) -> None:
        """``agreement``: on compression, None where there is none. ``pieces``: give large messages in
        pieces."""
        self.since = 0.0
        self._agreement = agreement
        self._pieces = pieces
        self._context = b""  # of the client's messages, for its next ones
        self._head = b""  # the first bytes of a header that is not whole yet
        # The frame: how much of it is to come, how much has come, its opcode, its last bit, its masking key.
        self._left = _OUTSIDE
        self._read = 0
        self._frame = 0
        self._fin = False
        self._key = b""
        self._control = b""
        # The message: 0 where there is none.
        self._opcode = 0
        self._frames = 0
        self._size = 0
        self._number = 0  # of the next piece
        self._body = bytearray()
        self._decoder: codecs.IncrementalDecoder | None = None
        self._inflater: Inflater | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is unfinished."""
        return not self._opcode and self._left == _OUTSIDE and not self._head

    @property
    def disposable(self) -> bool:
        """Whether a new reader would do as well."""
        return self.idle and not self._context

    @property
    def waiting(self) -> bool:
        """Whether there may be an event without more bytes."""
        return self._inflater is not None and self._inflater.waiting

    def read(self, data: bytes, start: int, limit: int) -> tuple[Event | None, int]:
        """The next event in ``data`` from ``start`` on, and where to go on reading; None at the end
        of ``data``, and after a fragment that completes nothing: a caller can stop between any two frames.

        ``limit``: bytes of the largest message, inflated. Raises Violation.
        """
        while True:
            if self._inflater is not None and self._inflater.waiting:
                event = self._inflate(self._inflater, limit)
                if event is not None:
                    return event, start
            if self._left == _OUTSIDE:
                start = self._begin(data, start, limit)
                if start < 0:
                    return None, len(data)
            end = min(start + self._room(), len(data))
            chunk = data[start:end]
            if chunk:
                chunk = self._unmask(chunk)
            elif self._left:
                return None, start
            start = end
            self._left -= len(chunk)
            if self._frame in _CONTROL:
                self._control += chunk
                if not self._left:
                    control, self._control = self._control, b""
                    self._left = _OUTSIDE
                    return Event(self._frame, control, len(control)), start
                continue
            return self._take(chunk, limit), start

    # --- frames -----------------------------------------------------------------------------------

    def _begin(self, data: bytes, start: int, limit: int) -> int:
        """Read a header; returns where its payload begins, or -1 when the header is not whole yet."""
        had = len(self._head)
        head = self._head + data[start : start + LONGEST_HEADER - had]
        if len(head) < 2:
            self._head = head
            return -1
        first, length = head[0], head[1] & 0x7F
        self._check(first, head[1], length)
        size = 6 if length < 126 else 8 if length == 126 else 14
        if len(head) < size:
            self._head = head
            return -1
        if length == 126:
            length = int.from_bytes(head[2:4], "big")
            if length < 126:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a length is not in its shortest form")
        elif length == 127:
            length = int.from_bytes(head[2:10], "big")
            if length < 65_536 or length >> 63:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a length is not in its shortest form")
        self._head = b""
        self._key = head[size - 4 : size]
        self._left, self._read = length, 0
        self._frame, self._fin = first & 0x0F, bool(first & FIN)
        if self._frame not in _CONTROL:
            self._begin_data(first, length, limit)
        return start + size - had

    def _check(self, first: int, second: int, length: int) -> None:
        """Raises Violation for a header that may not be (RFC 6455 sections 5.1 to 5.5, RFC 7692 section
        6)."""
        opcode = first & 0x0F
        reserved = first & 0x70
        if reserved and not (
            reserved == COMPRESSED and self._agreement is not None and opcode in _DATA and not self._opcode
        ):
            raise Violation(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
        if not second & 0x80:
            raise Violation(CloseCode.PROTOCOL_ERROR, "a client's frames must be masked")
        if opcode & 0x8:
            if opcode not in _CONTROL:
                raise Violation(CloseCode.PROTOCOL_ERROR, "unknown opcode")
            if not first & FIN or length > 125:
                raise Violation(CloseCode.PROTOCOL_ERROR, "a control frame is whole and short")
            if opcode == CLOSE and length == 1:
                raise Violation(CloseCode.PROTOCOL_ERROR, "half a close code")
        elif opcode == CONTINUATION:
            if not self._opcode:
                raise Violation(CloseCode.PROTOCOL_ERROR, "nothing to continue")
        elif opcode not in _DATA:
            raise Violation(CloseCode.PROTOCOL_ERROR, "unknown opcode")
        elif self._opcode:
            raise Violation(CloseCode.PROTOCOL_ERROR, "the last message was not finished")

    def _begin_data(self, first: int, length: int, limit: int) -> None:
        """A data frame begins, and with it perhaps a message. What is too big is refused by the header
        alone."""
        if not self._opcode:
            self._opcode = self._frame
            if first & COMPRESSED and self._agreement is not None:
                allowed = limit + limit // 64 + OVERHEAD
                self._inflater = Inflater(self._agreement.client_window, self._context, allowed)
        self._frames += 1
        # Empty fragments cost time too: no more of them than a message may have bytes.
        fits = self._inflater.allows(length) if self._inflater is not None else self._size + length <= limit
        if not fits or self._frames > max(limit, 1):
            raise Violation(CloseCode.TOO_BIG, "message too big")

    def _room(self) -> int:
        """How much of the frame may be taken at once."""
        if self._pieces and self._inflater is None and self._frame not in _CONTROL:
            return min(self._left, PIECE - len(self._body))
        return self._left

    def _unmask(self, chunk: bytes) -> bytes:
        turn = self._read & 3
        self._read += len(chunk)
        return unmask(chunk, self._key[turn:] + self._key[:turn] if turn else self._key)

    # --- messages ---------------------------------------------------------------------------------

    def _take(self, chunk: bytes, limit: int) -> Event | None:
        """A part of a data frame's payload, which may be all of it."""
        if not self._left:
            self._left = _OUTSIDE
        ended = self._left == _OUTSIDE and self._fin
        if self._inflater is not None:
            self._inflater.put(chunk)
            if ended:
                self._inflater.end()
            return self._inflate(self._inflater, limit)
        self._size += len(chunk)
        return self._add(chunk, ended)

    def _inflate(self, inflater: Inflater, limit: int) -> Event | None:
        room = (
            limit - self._size + 1
        )  # one byte more than may come: else a message that is cut there looks whole
        if self._pieces:
            room = min(room, PIECE - len(self._body))
        data = inflater.take(room)
        self._size += len(data)
        if self._size > limit:
            raise Violation(CloseCode.TOO_BIG, "message too big")
        return self._add(data, inflater.ended and not inflater.waiting)

    def _add(self, data: bytes, ended: bool) -> Event | None:
        """More of the message's own bytes; an event when it is whole, or a piece of it is."""
        self._check_text(data, ended)
        if ended and not self._body and self._number == 0:
            return self._finish(data)  # in one go, as most are
        self._body += data
        if ended:
            return self._finish(bytes(self._body))
        if self._pieces and len(self._body) >= PIECE:
            return self._piece()
        return None

    def _check_text(self, data: bytes, ended: bool) -> None:
        """UTF-8 is looked at as it comes, so that what is wrong is refused at once (RFC 6455 section 8.1)."""
        if self._opcode != TEXT or (ended and self._decoder is None):
            return
        if self._decoder is None:
            self._decoder = _utf8()
        try:
            self._decoder.decode(data, ended)
        except UnicodeDecodeError:
            raise Violation(CloseCode.INVALID_PAYLOAD, "a text is not UTF-8") from None
        begun = self._decoder.getstate()[0]
        if begun[:1] == b"\xed" and begun[1:] >= b"\xa0":  # Python waits for the third byte of a surrogate
            raise Violation(CloseCode.INVALID_PAYLOAD, "a text is not UTF-8")

    def _piece(self) -> Event | None:
        """Give what has come so far; the start of a character waits for its rest."""
        cut = len(self._body)
        if self._decoder is not None:
            cut -= len(self._decoder.getstate()[0])
        data = bytes(self._body[:cut])
        del self._body[:cut]
        number, self._number = self._number, self._number + 1
        return Event(self._opcode, self._text(data), len(data), (number, False))

    def _finish(self, data: bytes) -> Event:
        piece = (self._number, True) if self._pieces and (self._number or self._frames > 1) else None
        event = Event(self._opcode, self._text(data), len(data), piece)
        if self._inflater is not None:
            if self._agreement is not None and self._agreement.client_window:
                self._context = self._inflater.context
            self._inflater = None
        self._opcode = self._frames = self._size = self._number = 0
        self._body = bytearray()
        self._decoder = None
        return event

    def _text(self, data: bytes) -> str | bytes:
        if self._opcode != TEXT:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Violation(CloseCode.INVALID_PAYLOAD, "a text is not UTF-8") from None
