"""Large incoming messages, read in bounded pieces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one message, in order: at most 65,536 bytes of it."""

    text: str | None  # None for a binary message
    data: bytes | None  # None for a text
    number: int  # from 0
    last: bool
