"""Which subprotocol a socket speaks (RFC 6455 sections 1.9 and 4.2.2): the consumer's preference decides."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import BadRequest

TOKEN = "bearer."  # noqa: S105 (a browser's way to send a token, which is never sent back)


def choose(ours: Sequence[str], offered: Sequence[str], required: bool) -> str | None:
    """The first of ours that the client offers, or None. Raises BadRequest where one is ``required``."""
    for name in ours:
        if name in offered:
            return name
    if required:
        raise BadRequest(f"Offer one of these subprotocols: {', '.join(ours)}.", code="no_subprotocol")
    return None


def accepted(asked: str | None, chosen: str | None) -> str | None:
    """What the handshake is answered with: what the application asks for, else what was chosen."""
    if asked is not None and asked.startswith(TOKEN):
        raise ValueError("A token is never sent back")
    return chosen if asked is None else asked
