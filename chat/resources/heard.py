"""What a worker has heard of rows a moment ago.

Writers commit in one order and are heard in another. So for a while it is kept what was told last of a row:
a change that does not follow on that may be older than it, and the row is read anew. Decisions only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .tracking import Row

if TYPE_CHECKING:
    from .groups import Following

REMEMBERED = 5.0  # seconds
MOST_REMEMBERED = 10_000  # rows, 5 MB; of more only the digest is kept
MOST_DIGESTS = 100_000  # rows, 15 MB; if more change, all are read anew for a while
MOST_STATES = 32  # of one row; a change that is later by more than that may be taken for a new one
MOST_BEFORE = 8  # of one row; a delete may be told once more to who had it before those

NOTHING = b""


@dataclass(slots=True)
class Change:
    """``before`` has what filters look at; ``was`` and ``now`` are digests of whole rows. What the row was
    is not to be looked at where it is ``unknown``. ``only``: a group that looks again."""

    key: Any
    before: Row | None = None
    after: Row | None = None
    was: bytes = NOTHING
    now: bytes = NOTHING
    unknown: bool = False
    origin: str | None = None
    only: Following | None = None


@dataclass(slots=True)
class Word:
    """The last word about a row: the digest of what was ``told``, and of ``row`` what filters look at.

    ``states``: digests of all that the row was said to be. ``before``: what it was said to have been before
    it was told. ``by_all``: all groups were told, since nobody knew what it had been.
    """

    told: bytes = NOTHING
    row: Row | None = None
    states: tuple[bytes, ...] = ()
    before: tuple[Row | None, ...] = ()
    by_all: bool = False
    moment: float = 0.0

    def doubts(self, change: Change) -> bool:
        """Whether a change may be older than what was told: it does not follow on it, or leads back to where
        the row has been."""
        if not self.told or change.now == self.told:
            return False  # nothing was told, or just this
        return change.unknown or change.was != self.told or change.now in self.states

    def note(self, change: Change, told: bytes, row: Row | None) -> None:
        """A change was heard, and the row told as ``row``."""
        for state in (change.was, change.now, told):
            if state not in self.states:
                self.states = (*self.states[-MOST_STATES:], state)
        if change.unknown:
            self.by_all = self.by_all or not self.told
        elif change.before not in self.before:
            self.before = (*self.before[-MOST_BEFORE:], change.before)
        if self.told and self.row not in self.before:
            self.before = (*self.before[-MOST_BEFORE:], self.row)
        self.told, self.row = told, row

    def copy(self) -> Word:
        return Word(self.told, self.row, self.states, self.before, self.by_all, self.moment)

    def leaves_out(self, change: Change, test: Callable[[Row], bool]) -> bool:
        """Whether those who had the row before a change have been told of none since: it is older than all
        that was heard, and only it says that they had it."""
        if self.by_all or change.before is None or change.was in self.states or not test(change.before):
            return False
        return not any(row is not None and test(row) for row in (*self.before, self.row))


class Heard:
    """The last words about a model's rows."""

    def __init__(self) -> None:
        self._words: OrderedDict[Any, Word] = OrderedDict()
        self._digests: OrderedDict[Any, tuple[bytes, float]] = OrderedDict()  # of what was told of others
        self._forgot = float("-inf")  # when one was forgotten too early

    def word(self, key: Any, now: float) -> Word | None:
        """The last word about a row, if that was a moment ago."""
        word = self._words.get(key)
        return None if word is None or now - word.moment > REMEMBERED else word

    def unclear(self, changes: list[Change], now: float) -> set[Any]:
        """The rows whose changes, in this order, may not be in the order in which they were made."""
        found: set[Any] = set()
        within: dict[Any, Word] = {}  # as it will be after the changes before it
        forgetful = now - self._forgot <= REMEMBERED
        for change in changes:
            if change.only is not None:
                continue
            key = change.key
            word = within.get(key) or self.word(key, now)
            if word is None:
                digest, moment = self._digests.get(key, (change.was, now))
                if forgetful or (change.was != digest and now - moment <= REMEMBERED):
                    found.add(key)
            elif word.doubts(change):
                found.add(key)
            if len(changes) > 1:
                later = within.get(key) or (Word() if word is None else word.copy())
                later.note(change, change.now, change.after)
                within[key] = later
        return found

    def note(self, change: Change, told: bytes, row: Row | None, now: float) -> None:
        """What is told of a row from now on: ``row`` as filters look at it, ``told`` its digest."""
        word = self.word(change.key, now) or Word()
        word.note(change, told, row)
        word.moment = now
        self._words[change.key] = word
        self._words.move_to_end(change.key)
        if len(self._words) > MOST_REMEMBERED:
            oldest, word = self._words.popitem(last=False)
            self._digests[oldest] = word.told, word.moment
            self._digests.move_to_end(oldest)
            if len(self._digests) > MOST_DIGESTS:
                _, (_, moment) = self._digests.popitem(last=False)
                if now - moment <= REMEMBERED:
                    self._forgot = now

    def sweep(self, now: float) -> None:
        """Forget what is old."""
        while self._words:
            key, word = next(iter(self._words.items()))
            if now - word.moment <= REMEMBERED:
                break
            del self._words[key]
        while self._digests:
            key, (_, moment) = next(iter(self._digests.items()))
            if now - moment <= REMEMBERED:
                break
            del self._digests[key]
