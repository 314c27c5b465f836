"""A connection's life: connecting → open → closing → closed, and no other way."""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    CONNECTING = 0  # the handshake is decided
    OPEN = 1
    CLOSING = 2  # our close frame is under way, or the line is gone and the consumer is told
    CLOSED = 3


_MOVES = {
    State.CONNECTING: (State.OPEN, State.CLOSED),  # refused, or the client left before the answer
    State.OPEN: (State.CLOSING, State.CLOSED),  # the client closed, or the line broke
    State.CLOSING: (State.CLOSED,),
    State.CLOSED: (),
}


class IllegalMove(RuntimeError):
    """A connection was told to become what it can't become any more (or not yet)."""


def moved(now: State, to: State) -> State:
    """The state ``to``. Raises IllegalMove."""
    if to not in _MOVES[now]:
        raise IllegalMove(f"A connection that is {now.name.lower()} can't become {to.name.lower()}.")
    return to
