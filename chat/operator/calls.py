"""The calls that an operator has, whichever road they take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

Body = dict[str, Any]

MAX_LISTED = 1000  # connections, rooms or members that one call lists
TARGETS = ("room", "user", "username", "connection", "all")


class Unreachable(Exception):
    """No worker can be reached; the text says what to do."""


class Operator(ABC):
    """The calls. Those over the layer raise LayerUnavailable, those over HTTP Unreachable."""

    @abstractmethod
    def stats(self) -> Body:
        """`{"workers": [one dict each], "totals": {...}, "rooms": distinct rooms}`."""

    @abstractmethod
    def rooms(self, limit: int = MAX_LISTED) -> Body:
        """`{"rooms": [{"room", "members"}], "total", "workers"}`, the largest first."""

    @abstractmethod
    def connections(
        self,
        *,
        room: str | None = None,
        user: str | None = None,
        username: str | None = None,
        where: Body | None = None,
        limit: int = MAX_LISTED,
    ) -> Body:
        """`{"connections": [...], "total", "workers"}`, the oldest first. `user`: see `user_filter`;
        `where`: a condition (docs/broadcasting.md)."""

    @abstractmethod
    def close(self, target: Body, reason: str = "") -> Body:
        """Close what one of TARGETS names: `{"closed", "left", "workers"}`: sockets, those that only left the
        room since they had joined it besides their endpoint's, and the workers they were on."""

    @abstractmethod
    def broadcast(self, room: str | None, kind: str, data: Body) -> Body:
        """Send `data` with a type to a room or to everybody: `{"id", "workers"}`, its id and who took it."""


def user_filter(text: str) -> Body:
    """Whom an operator means by a text: the user with that id, where it can be an id, else the user of that
    name. So "5" is never somebody who calls themself 5; `username` names that one."""
    key = get_user_model()._meta.pk
    try:
        return {"user_id": str(key.to_python(text))}
    except (ValidationError, ValueError, TypeError):
        return {"username": text}


def check_target(target: Body) -> None:
    """What closes connections must be told exactly which: an empty name would match everybody."""
    if len(target) != 1 or not all(key in TARGETS and value for key, value in target.items()):
        raise ValueError(f"Name exactly one of {', '.join(TARGETS)}.")
