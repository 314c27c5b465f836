"""Text matching that means the same on SQLite, on PostgreSQL and in memory.

LIKE ignores the case of ASCII letters on SQLite and no case on PostgreSQL; ``lower`` knows ASCII only on
SQLite. Here patterns are SQL's (``%``, ``_``, a backslash before either takes it literally), case counts
unless it is ignored, and ignoring it maps single characters. For letters beyond ASCII, PostgreSQL's collation
must not be ``C``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from django.db.backends.signals import connection_created
from django.db.models import BooleanField, Func, TextField, Value
from django.db.models.functions import Cast

LOWER = "realtime_lower"  # what our function is called in SQLite


class Like(Func):
    """Whether a text matches a pattern: ``Like(F("name"), "Jo%")``."""

    output_field = BooleanField()
    conditional = True

    def __init__(self, text: Any, pattern: str, ignore_case: bool = False) -> None:
        self.ignore_case = ignore_case
        super().__init__(text, Value(_canonical(lower(pattern) if ignore_case else pattern)))

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """GLOB, since it heeds case; its own wildcards differ."""
        text, pattern = self.get_source_expressions()
        glob = self.copy()
        glob.set_source_expressions([text, Value(as_glob(pattern.value))])
        left = f"{LOWER}(%s)" if self.ignore_case else "%s"
        return _binary(glob, compiler, left, "GLOB", "")

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        left = "lower(%s)" if self.ignore_case else "%s"
        return _binary(self, compiler, left, "LIKE", " ESCAPE '\\'")


class Compared(Func):
    """A text's order by code points, whatever the collation: ``Compared(F("name"), "lt", "M")``."""

    output_field = BooleanField()
    conditional = True
    OPERATORS: ClassVar = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

    def __init__(self, text: Any, operator: str, value: str) -> None:
        self.operator = self.OPERATORS[operator]
        super().__init__(text, Value(value))

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return _binary(self, compiler, "%s COLLATE BINARY", self.operator, "")

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return _binary(self, compiler, '%s COLLATE "C"', self.operator, "")


def _binary(func: Func, compiler: Any, left: str, operator: str, end: str) -> tuple[str, list[Any]]:
    text, pattern = func.get_source_expressions()
    text_sql, text_params = compiler.compile(text)
    pattern_sql, pattern_params = compiler.compile(pattern)
    return f"{left % text_sql} {operator} {pattern_sql}{end}", [*text_params, *pattern_params]


def as_text(expression: Any) -> Cast:
    """A number or a date as its text, the same on both databases."""
    return Cast(expression, TextField())


@lru_cache(maxsize=4096)
def _lower_char(char: str) -> str:
    if char == "İ":
        return "i"
    small = char.lower()
    return small if len(small) == 1 else char


def lower(text: str) -> str:
    """Each character's single-character lower case; str.lower maps some to two, and looks at neighbours."""
    return text.lower() if text.isascii() else "".join([_lower_char(char) for char in text])


def as_glob(pattern: str) -> str:
    """A LIKE pattern in SQLite's GLOB."""
    out = []
    for char, literal in _parts(pattern):
        if not literal and char == "%":
            out.append("*")
        elif not literal and char == "_":
            out.append("?")
        else:
            out.append(f"[{char}]" if char in "*?[" else char)
    return "".join(out)


def matches(text: str, pattern: str) -> bool:
    """``text LIKE pattern``. Each piece between two ``%`` is looked for once: no pattern takes longer than
    about a microsecond for each of the text's characters."""
    first, *between = _pieces(pattern)
    if not between:
        return len(text) == len(first.chars) and first.fits(text, 0)
    last = between.pop()
    at, end = len(first.chars), len(text) - len(last.chars)
    if at > end or not first.fits(text, 0) or not last.fits(text, end):
        return False
    for piece in between:
        found = piece.find(text, at, end)
        if found < 0:
            return False
        at = found + len(piece.chars)
    return True


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stands between two ``%``. ``chars``: None is any character; ``literal``: where none is."""

    chars: tuple[str | None, ...]
    literal: str | None

    def fits(self, text: str, at: int) -> bool:
        """Whether it is there at this place."""
        if self.literal is not None:
            return text.startswith(self.literal, at)
        there = text[at : at + len(self.chars)]
        return len(there) == len(self.chars) and all(
            wanted is None or wanted == char for wanted, char in zip(self.chars, there, strict=True)
        )

    def find(self, text: str, begin: int, end: int) -> int:
        """Where it is first between two places; -1 where it is not."""
        if self.literal is not None:
            return text.find(self.literal, begin, end)
        # Bit n of ``state``: the piece's first n+1 characters fit the text that ends here.
        anywhere = sum(1 << place for place, char in enumerate(self.chars) if char is None)
        masks: dict[str, int] = {}
        for place, char in enumerate(self.chars):
            if char is not None:
                masks[char] = masks.get(char, anywhere) | 1 << place
        state, whole = 0, 1 << len(self.chars) - 1
        for at in range(begin, end):
            state = (state << 1 | 1) & masks.get(text[at], anywhere)
            if state & whole:
                return at - len(self.chars) + 1
        return -1


def literally(text: str) -> str:
    """A text as a pattern that matches only itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _canonical(pattern: str) -> str:
    """The same pattern; PostgreSQL refuses one that ends in a lone backslash."""
    return "".join([literally(char) if literal else char for char, literal in _parts(pattern)])


@lru_cache(maxsize=1024)
def _pieces(pattern: str) -> tuple[_Piece, ...]:
    """A pattern, cut at its ``%``: one piece more than there are."""
    cut: list[list[str | None]] = [[]]
    for char, literal in _parts(pattern):
        if not literal and char == "%":
            cut.append([])
        else:
            cut[-1].append(char if literal else None)
    return tuple(
        [_Piece(tuple(one), None if None in one else "".join([char or "" for char in one])) for one in cut]
    )


def _parts(pattern: str) -> list[tuple[str, bool]]:
    """(character, whether it stands for itself). A backslash at the very end stands for itself."""
    parts: list[tuple[str, bool]] = []
    escaped = False
    for char in pattern:
        if escaped:
            parts.append((char, True))
            escaped = False
        elif char == "\\":
            escaped = True
        else:
            parts.append((char, char not in "%_"))
    if escaped:
        parts.append(("\\", True))
    return parts


def _add_functions(sender: Any, connection: Any, **_: Any) -> None:
    if connection.vendor == "sqlite":
        function = lambda text: None if text is None else lower(str(text))  # noqa: E731 (one line of SQL's)
        connection.connection.create_function(LOWER, 1, function, deterministic=True)


connection_created.connect(_add_functions, dispatch_uid="chat.resources.lookups")
