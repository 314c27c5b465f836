"""Text for a terminal: aligned columns, units for people, and nothing that could play with the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

GAP = "  "
NOTHING = "-"


def clean(text: str | None, width: int = 40) -> str:
    """A client's text without control and formatting characters, at most `width` columns wide."""
    shown = "".join(char for char in text or "" if unicodedata.category(char)[0] != "C")
    if columns(shown) > width:
        while columns(shown) > width - 1:
            shown = shown[:-1]
        shown += "…"
    return shown or NOTHING


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for East Asian wide characters, none for accents."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    """Rows below their titles, in columns; those whose title is in `numbers` to the right."""
    widths = [max(columns(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
    lines = []
    for row in [titles, *rows]:
        cells = []
        for title, text, width in zip(titles, row, widths, strict=True):
            space = " " * (width - columns(text))
            cells.append(space + text if title in numbers else text + space)
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """`12,345`; `0.3` for what is not whole."""
    return f"{value:,.1f}" if isinstance(value, float) and not value.is_integer() else f"{value:,.0f}"


def count(value: int, noun: str) -> str:
    """`1 worker`, `12,345 workers`."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def closing_words(answer: dict[str, Any]) -> str:
    """What an order to close did, in words: "Closed 2 connections on 1 worker."."""
    sockets, workers = count(answer["closed"], "connection"), count(answer["workers"], "worker")
    if not answer["left"]:
        return f"Closed {sockets} on {workers}."
    others = count(answer["left"], "connection")
    return f"Closed {sockets}, and {others} left the room, on {workers}."


def size(octets: int) -> str:
    """`58.2 MiB`."""
    value, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{octets} B" if unit == "B" else f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """`8s`, `3m 20s`, `5h 3m`, `2d 4h`."""
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def milliseconds(seconds: float | None) -> str:
    """`12 ms`; a dash where nothing was measured."""
    return NOTHING if seconds is None else f"{seconds * 1000:,.0f} ms"


def since(moment: str, now: datetime | None = None) -> str:
    """How long ago an ISO 8601 moment was."""
    return duration(((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds())
