"""How each side is asked for rows, and where they are in what it answers.

Every request carries the mark and its number (wire.py) as its id, which the answer repeats.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..wire import MARK, Dialect

PAGE = 100
"""Rows of a page."""


def ident(number: int) -> str:
    """A request's id."""
    return f"{MARK.decode()}{number:08d}"


@dataclass(frozen=True)
class _Asking:
    one: Callable[[int, int], dict[str, Any]]
    """The request with this number for the row with this key."""
    page: Callable[[int, int], dict[str, Any]]
    """The request with this number for the page of 100 rows from this offset on."""
    rows: Callable[[dict[str, Any]], list[dict[str, Any]] | None]
    """The rows of an answer; None for a refusal."""


@dataclass(frozen=True)
class Language(Dialect):
    """A dialect whose messages are requests."""

    asking: _Asking | None = None

    def read_one(self, number: int, key: int) -> bytes:
        """A request for one row."""
        assert self.asking is not None
        return json.dumps(self.asking.one(number, key)).encode()

    def read_page(self, number: int, offset: int) -> bytes:
        """A request for a page."""
        assert self.asking is not None
        return json.dumps(self.asking.page(number, offset)).encode()

    def rows(self, payload: bytes) -> list[dict[str, Any]]:
        """The rows of an answer; raises ValueError for a refusal."""
        assert self.asking is not None
        found = self.asking.rows(json.loads(payload))
        if found is None:
            raise ValueError(payload[:200].decode("utf-8", "replace"))
        return found


def request(number: int, operation: str, **more: Any) -> dict[str, Any]:
    """One of this project's requests, or its subscription."""
    kind = "subscription" if operation == "subscribe" else "request"
    message = {"id": ident(number), "type": kind, "operation": operation}
    return message | {"schema": "shop", "entity": "items", **more}


def _our_rows(answer: dict[str, Any]) -> list[dict[str, Any]] | None:
    if not answer["success"]:
        return None
    data = answer["data"]
    return data if isinstance(data, list) else [data]


def _their_rows(answer: dict[str, Any]) -> list[dict[str, Any]] | None:
    if answer["errors"] or answer["response_status"] != 200:
        return None
    data = answer["data"]
    rows: list[dict[str, Any]] = data.get("results", [data])
    return rows


OURS = Language(
    name="ours",
    path="/api/resources/ws",
    before=b"",
    after=b"",
    greeting=b"",
    failure=b'"success":false',
    asking=_Asking(
        one=lambda number, key: request(number, "read", record_id=key),
        page=lambda number, offset: request(number, "read", options={"limit": PAGE, "offset": offset}),
        rows=_our_rows,
    ),
)
REST = Language(
    name="rest",
    path="/ws/items/",
    before=b"",
    after=b"",
    greeting=b"",
    asking=_Asking(
        one=lambda number, key: {"action": "retrieve", "request_id": ident(number), "pk": key},
        page=lambda number, offset: {
            "action": "list",
            "request_id": ident(number),
            "limit": PAGE,
            "offset": offset,
        },
        rows=_their_rows,
    ),
)
