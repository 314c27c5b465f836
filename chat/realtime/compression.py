"""permessage-deflate (RFC 7692): what is agreed on with a client, and the codec. No socket and no clock in
here.

A message is compressed once for all its receivers, so the server never takes context over from one message
to the next (``server_no_context_takeover`` is always in its answer). Nothing is kept for what is sent, and
of what a client sends only as much as was agreed on: by default nothing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache

from .codes import CloseCode, Violation

NAME = "permessage-deflate"
SMALLEST_WINDOW, LARGEST_WINDOW = 8, 15  # powers of two, in bytes (RFC 7692 section 7.1.2)
NEVER = LARGEST_WINDOW + 1  # a window that no client has: the message is not compressed
TAIL = b"\x00\x00\xff\xff"  # the end of a flushed block, which is not sent (section 7.2.1)
# Compressed bytes of one message that are looked at, beyond those of its largest size: blocks may be stored
# as they are, and empty ones inflate to nothing.
OVERHEAD = 1024
LONGEST_OFFER = 1024  # characters that are looked at, and remembered; browsers send 43 at most
FINAL_BLOCKS = 16  # of one message: 30,000 fit into 64 KiB, and each costs a new start


@dataclass(frozen=True, slots=True)
class Agreement:
    """What one client and the server agreed on. Windows are powers of two."""

    server_window: int  # no larger a window may what we send need
    client_window: int  # how far what the client sends may refer back; 0: not beyond its own message
    answer: str  # the value of our Sec-WebSocket-Extensions header


def negotiate(offered: str, window: int) -> Agreement | None:
    """Accept the first offer of a Sec-WebSocket-Extensions header that can be, or None.

    ``window`` is how much of what the client sent before is remembered for it: 2 ** ``window`` bytes, 9 to
    15, or 0 for nothing. Offers with anything that RFC 7692 section 7.1 does not know are declined, not
    answered with an error.
    """
    return _negotiate(offered, window) if len(offered) <= LONGEST_OFFER else None


@lru_cache(maxsize=64)
def _negotiate(offered: str, window: int) -> Agreement | None:
    for offer in offered.split(","):
        name, *parameters = [part.strip() for part in offer.split(";")]
        if name.lower() == NAME:
            known = _read(parameters)
            if known is not None:
                return _agree(known, window)
    return None


def _agree(offer: dict[str, int | None], window: int) -> Agreement:
    words = [NAME, "server_no_context_takeover"]
    server_window = LARGEST_WINDOW
    if offer.get("server_max_window_bits") is not None:
        server_window = offer["server_max_window_bits"] or LARGEST_WINDOW
        words.append(f"server_max_window_bits={server_window}")
    if "client_no_context_takeover" in offer:
        window = 0
    elif window < LARGEST_WINDOW and "client_max_window_bits" not in offer:
        window = 0  # it can't be told to use a smaller window (section 7.1.2.2)
    if window and "client_max_window_bits" in offer:
        window = min(window, offer["client_max_window_bits"] or LARGEST_WINDOW)
        words.append(f"client_max_window_bits={window}")
    if not window:
        words.append("client_no_context_takeover")
    return Agreement(server_window, window, "; ".join(words))


def _read(parameters: list[str]) -> dict[str, int | None] | None:
    """An offer's parameters, or None for an invalid one: unknown, doubled, or with a value that can't be."""
    found: dict[str, int | None] = {}
    for parameter in parameters:
        name, has_value, value = parameter.partition("=")
        name, value = name.strip().lower(), value.strip()
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if name in found:
            return None
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if has_value:
                return None
            found[name] = None
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if not has_value and name == "client_max_window_bits":
                found[name] = None
            elif value in _WINDOWS:
                found[name] = int(value)
            else:
                return None
        else:
            return None
    return found


_WINDOWS = frozenset(str(bits) for bits in range(SMALLEST_WINDOW, LARGEST_WINDOW + 1))


def window_for(size: int) -> int:
    """The smallest window that holds a message of ``size`` bytes: zlib clears 256 KiB for the largest (40
    µs), and next to nothing for a small one (6 µs)."""
    return max(9, min((size - 1).bit_length(), LARGEST_WINDOW))  # zlib knows no raw window of 8


def deflate(payload: bytes, level: int) -> bytes:
    """One message, compressed by itself (section 7.2.1). ``level`` is zlib's, 1 to 9."""
    window = window_for(len(payload))
    packer = zlib.compressobj(level, zlib.DEFLATED, -window, max(1, window - 6))
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate_whole(data: bytes, limit: int) -> bytes | None:
    """A whole message, the short way (4 µs instead of 10): None for what only an ``Inflater`` can judge."""
    inflater = zlib.decompressobj(-LARGEST_WINDOW)
    try:
        out = inflater.decompress(data + TAIL, limit + 1)
    except zlib.error:
        return None
    return None if len(out) > limit or inflater.eof else out


class Inflater:
    """One compressed message, as it comes in: never more than is asked for comes out.

    ``context`` is what the client said in earlier messages, as far as this one may refer back to it. The
    window is kept as bytes, not in zlib's own state: that takes 40 KiB a connection from the first message
    on.
    """

    __slots__ = ("_allowed", "_input", "_more", "_packer", "_restarts", "_window", "context", "ended")

    def __init__(self, window: int, context: bytes, allowed: int) -> None:
        """``allowed``: compressed bytes that the message may have."""
        self.context = context  # at the end, what the next message may refer to
        self._window = window or LARGEST_WINDOW
        self._allowed = allowed
        self._input = b""
        self._more = False
        self._packer = _start(context)
        self._restarts = 0
        self.ended = False  # whether nothing more will be put in

    @property
    def waiting(self) -> bool:
        """Whether more may come out without more going in."""
        return self._more

    def allows(self, size: int) -> bool:
        """Announce a frame of ``size`` bytes; False for far more than a message of its size needs."""
        self._allowed -= size
        return self._allowed >= 0

    def put(self, data: bytes) -> None:
        """More of the message."""
        self._input += data
        self._more = True

    def end(self) -> None:
        """That was all."""
        self._input += TAIL
        self._more = self.ended = True

    def take(self, most: int) -> bytes:
        """At most ``most`` bytes of what comes out. Raises Violation 1007."""
        out = b""
        while self._more and len(out) < most:
            wanted = most - len(out)
            try:
                got = self._packer.decompress(self._input, wanted)
            except zlib.error:
                raise Violation(CloseCode.INVALID_PAYLOAD, "the message can't be decompressed") from None
            self.context = (self.context + got)[-(1 << self._window) :]
            out = out + got if out else got
            if self._packer.eof:
                self._restart()
            else:
                self._input = self._packer.unconsumed_tail
            # zlib may hold output back although it has taken all input: where the room was used up.
            self._more = bool(self._input) or len(got) == wanted
        return out

    def _restart(self) -> None:
        """A final block does not end the message: others may follow (RFC 7692 section 7.2.3.4)."""
        self._restarts += 1
        if self._restarts > FINAL_BLOCKS:
            raise Violation(CloseCode.INVALID_PAYLOAD, "the message can't be decompressed")
        self._input = self._packer.unused_data
        self._packer = _start(self.context)


def _start(context: bytes) -> zlib._Decompress:
    return zlib.decompressobj(-LARGEST_WINDOW, context) if context else zlib.decompressobj(-LARGEST_WINDOW)
