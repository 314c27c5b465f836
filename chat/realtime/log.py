"""Structured log lines: an event's name and its fields, never content, never a secret, never a flood.

    event(logger, logging.WARNING, "slow_consumer", connection=connection, dropped=3)

writes ``slow_consumer connection=9be4… user=7 room=lobby dropped=3``. What a client chose is quoted and
escaped, so that nothing it sends can pass for a line of ours or play with a terminal. Name and fields are on
the record too (``record.event``, ``record.fields``), for formatters that write JSON.

**Floods are folded**: of the same event (logger, name, ``code``, ``per``) the first 20 in 10 seconds are
written, and the others become one line, ``refused code=room_full ... 153 more in 10 s``. Lines below INFO are
not folded: who switches them on wants to see each.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

FOLD_AFTER = 20  # lines of one event in a window
WINDOW = 10.0  # seconds
MOST_FOLDS = 1000  # kinds of event that are counted at once
LONGEST = 200  # characters of one value

# A field of such a name is a mistake: what it holds must not be in a log.
SECRET = frozenset(
    {
        "authorization",
        "body",
        "content",
        "cookie",
        "data",
        "headers",
        "message",
        "password",
        "payload",
        "query",
        "secret",
        "session",
        "session_key",
        "text",
        "ticket",
        "token",
    }
)
HIDDEN = "(hidden)"

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/@+-")


def event(
    logger: logging.Logger,
    level: int,
    name: str,
    /,
    *,
    error: BaseException | None = None,
    per: object = None,
    **fields: Any,
) -> bool:
    """Write one event; False when the level is off or the line was folded.

    ``fields`` that are None are left out. ``connection`` may be a Connection: its id, user and room are
    written. ``error`` adds its traceback. ``per`` folds apart what should not hide each other.
    """
    if not logger.isEnabledFor(level):
        return False
    now = time.monotonic()
    if level >= logging.INFO:
        key = (logger.name, name, fields.get("code"), per)
        if not _folds.admit(key, now, (logger, level, name, fields.get("code"))):
            return False
    known = _plain(fields)
    info = None if error is None else (type(error), error, error.__traceback__)
    logger.log(level, _text(name, known), exc_info=info, extra=_extra(name, known), stacklevel=2)
    return True


def failure(logger: logging.Logger, name: str, error: BaseException, /, **fields: Any) -> str:
    """Log a bug with its traceback; returns the number to tell, by which its line is found.

    The same bug again and again (same kind of error, same line of code) is folded, and then has the number
    of the last line that was written for it.
    """
    where = (type(error).__qualname__, *_place(error.__traceback__))
    number = secrets.token_hex(4)
    traceback = None if isinstance(error, TimeoutError) and error.__traceback__ is None else error
    known = {"error": number, "kind": type(error).__name__, **fields}
    key = (logger.name, name, where)
    now = time.monotonic()
    if not _folds.admit(key, now, (logger, logging.ERROR, name, None), number):
        return _folds.number_of(key) or number
    known = _plain(known)
    info = None if traceback is None else (type(error), error, error.__traceback__)
    logger.log(logging.ERROR, _text(name, known), exc_info=info, extra=_extra(name, known), stacklevel=2)
    return number


def flush(now: float | None = None) -> None:
    """Write the lines of what was folded in windows that are over; with an infinite ``now``, of all."""
    _folds.flush(time.monotonic() if now is None else now)


def quoted(value: Any) -> str:
    """A value as it stands in a line: bare where that can't be mistaken, else quoted and escaped; bounded."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray | memoryview) else str(value)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    if text and _BARE.issuperset(text):
        return text
    return '"' + "".join([char if _plainly(char) else _escaped(char) for char in text]) + '"'


def _plainly(char: str) -> bool:
    return char.isprintable() and char not in '"\\'


def _escaped(char: str) -> str:
    return "\\" + char if char in '"\\' else char.encode("unicode_escape").decode("ascii")


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as strings, numbers and booleans, without those that are None."""
    known: dict[str, Any] = {}
    for key, value in fields.items():
        if value is None:
            continue
        if key in SECRET:
            known[key] = HIDDEN
        elif key == "connection" and not isinstance(value, str):
            known["connection"] = value.id
            if value.user is not None and "user" not in fields:
                known["user"] = value.user["id"]
            if value.room is not None and "room" not in fields:
                known["room"] = value.room
        elif isinstance(value, str):
            known[key] = value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
        elif isinstance(value, int | float):
            known[key] = value
        else:
            known[key] = str(value)[:LONGEST] if not isinstance(value, bytes) else f"<{len(value)} bytes>"
    return known


def _text(name: str, fields: dict[str, Any]) -> str:
    return " ".join([name, *[f"{key}={quoted(value)}" for key, value in fields.items()]])


def _extra(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"event": name, "fields": fields}


def _place(traceback: TracebackType | None) -> tuple[str, int]:
    """The file and line where an error came up."""
    if traceback is None:
        return ("", 0)
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)


class _Fold:
    __slots__ = ("began", "count", "number", "told")

    def __init__(self, now: float, told: tuple[logging.Logger, int, str, Any]) -> None:
        self.began = now
        self.count = 0
        self.told = told
        self.number: str | None = None


class Folds:
    """How often each event came in its window. Decides; `report` writes. Any thread may call it."""

    def __init__(self, report: Callable[[tuple[logging.Logger, int, str, Any], int, int], None]) -> None:
        self._folds: dict[Any, _Fold] = {}  # the oldest window first
        self._lock = threading.Lock()
        self._report = report

    def __len__(self) -> int:
        return len(self._folds)

    def admit(
        self,
        key: Any,
        now: float,
        told: tuple[logging.Logger, int, str, Any],
        number: str | None = None,
    ) -> bool:
        """Whether one more of this kind is written. ``number``: what was told of the last one that was."""
        over: list[_Fold] = []
        with self._lock:
            fold = self._folds.get(key)
            if fold is not None and now - fold.began >= WINDOW:
                over.append(self._folds.pop(key))
                fold = None
            if fold is None:
                if len(self._folds) >= MOST_FOLDS:
                    over.append(self._folds.pop(next(iter(self._folds))))
                fold = self._folds[key] = _Fold(now, told)
            fold.count += 1
            admitted = fold.count <= FOLD_AFTER
            if admitted and number is not None:
                fold.number = number
        self._tell(over)
        return admitted

    def number_of(self, key: Any) -> str | None:
        with self._lock:
            fold = self._folds.get(key)
            return None if fold is None else fold.number

    def flush(self, now: float) -> None:
        """End the windows that are over."""
        if not self._folds:
            return
        over = []
        with self._lock:
            while self._folds:
                key = next(iter(self._folds))
                if now - self._folds[key].began < WINDOW:
                    break
                over.append(self._folds.pop(key))
        self._tell(over)

    def _tell(self, over: list[_Fold]) -> None:
        for fold in over:
            if fold.count > FOLD_AFTER:
                self._report(fold.told, fold.count - FOLD_AFTER, round(WINDOW))


def _report(told: tuple[logging.Logger, int, str, Any], more: int, seconds: int) -> None:
    logger, level, name, code = told
    fields = _plain({"code": code})
    logger.log(
        level,
        "%s ... %d more in %d s",
        _text(name, fields),
        more,
        seconds,
        extra=_extra(name, {**fields, "more": more, "seconds": seconds}),
        stacklevel=2,
    )


_folds = Folds(_report)
