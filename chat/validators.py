"""What may stand in the chat's settings and in a room's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import factorial

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

ROOM_NAME_LENGTH = 128  # characters
ROOM_PATTERN_LENGTH = 200  # characters
PASSWORD_LENGTH = 128  # characters of a room's password

# Steps that matching one room name may take at worst; 1,000,000 are about 10 ms of a worker's event loop.
MATCH_STEPS = 1_000_000

validate_room_name = RegexValidator(
    r"\A[A-Za-z0-9._:-]{1,128}\Z",
    "A room's name has 1 to 128 characters: letters (A to Z, a to z), digits and . _ : - only.",
)

# One piece of a regular expression: an escape, a set, a bracket, a bar, a repetition, or any character.
_PIECE = re.compile(
    r"(?P<escape>\\.)|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<open>\((?P<flag>\?:?)?)|(?P<close>\))|(?P<bar>\|)"
    r"|(?P<repeat>(?:[*+?]|\{\d*,?\d*\})[?+]?)|(?P<other>.)",
    re.DOTALL,
)


def validate_room_pattern(pattern: str) -> None:
    """Refuse a regular expression that does not compile, or that could hold up a worker.

    Python's `re` tries one alternative after the other, which can take for ever ("catastrophic
    backtracking"), and it runs on the worker's event loop with names that anybody may send. So an upper
    bound of its steps is computed from the pattern alone; look-arounds and references, for which there is
    none, are refused.
    """
    if not pattern:
        return
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValidationError(f"This is not a valid regular expression: {error}.") from error
    steps = _steps(pattern)
    if steps > MATCH_STEPS:
        raise ValidationError(
            "Matching this expression could take too long. Use fewer repetitions and optional parts."
        )


def _steps(pattern: str) -> int:
    """An upper bound of the ways to match a room's name: the product of all choices in the pattern.

    Of n open-ended repetitions in one pattern the k-th can only take what the others leave, hence n!.
    """
    ways, repeats = 1, 0
    groups = [_Group()]
    closed: _Group | None = None  # the group that the piece before closed
    for piece in _PIECE.finditer(pattern):
        kind, text, before, closed = piece.lastgroup, piece[0], closed, None
        if kind == "escape" and text[1] in "123456789":
            raise ValidationError("References to groups, like \\1, can't be used here.")
        if kind == "open":
            if piece["flag"] == "?":
                raise ValidationError("Of groups, only (…) and (?:…) can be used here.")
            groups.append(_Group())
        elif kind == "close" and len(groups) > 1:
            closed = groups.pop()
            ways *= closed.bars + 1
            groups[-1].choices += closed.bars + closed.choices
        elif kind == "bar":
            groups[-1].bars += 1
        elif kind == "repeat":
            count, most = _repetition(text)
            if before is not None and most > 1 and before.bars + before.choices:
                raise ValidationError(
                    "A group that is repeated can't hold alternatives or another repetition. "
                    "Instead of (a|b)* write [ab]*, instead of (-[a-z]+)* write [a-z-]*."
                )
            repeats += count > 2
            ways *= count
            groups[-1].choices += count > 1
    return ways * (groups[0].bars + 1) // factorial(repeats)


@dataclass
class _Group:
    bars: int = 0  # between its own alternatives
    choices: int = 0  # in what it holds


def _repetition(text: str) -> tuple[int, int]:
    """In how many ways a repetition can match a name, and how often at most: `?` (2, 1), `{3}` (1, 3)."""
    if text[0] == "?":
        return 2, 1
    if text[0] in "*+":
        return ROOM_NAME_LENGTH + 1, ROOM_NAME_LENGTH
    low, comma, high = text[1 : text.index("}")].partition(",")
    if not comma:
        return 1, int(low or 1)
    most = min(int(high), ROOM_NAME_LENGTH) if high else ROOM_NAME_LENGTH
    return max(most - int(low or 0), 0) + 1, most
