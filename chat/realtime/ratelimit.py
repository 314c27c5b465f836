"""Rates with a burst: decided from a state of one number and the time, no clock or task in here.

The token bucket in its shortest form (GCRA, ITU-T I.371): instead of tokens and the time of their last
refill, a state is the moment at which the bucket will be full again. A bucket that was never used is 0.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field

MOST_KEYS = 10_000  # buckets in one table: 1.5 MiB

_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}
_TEXT = re.compile(r"([0-9]{1,9})\s*/\s*([a-z]+)")


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` in the long run, ``burst`` at once after a pause: exactly so many, then no more."""

    per_second: float
    burst: float
    cost: float = field(init=False, repr=False)  # seconds that one takes to come back
    depth: float = field(init=False, repr=False)  # seconds that a whole burst takes, and what floats lose

    def __post_init__(self) -> None:
        if self.per_second <= 0 or self.burst < 1:
            raise ValueError("A rate is above 0, and its burst at least 1")
        object.__setattr__(self, "cost", 1 / self.per_second)
        object.__setattr__(self, "depth", (self.burst + 0.001) / self.per_second)

    @classmethod
    def parse(cls, text: str, burst: float | None = None) -> Rate:
        """``10/s``, ``100/min``, ``500/hour``; the burst is that number unless given. Raises ValueError."""
        found = _TEXT.fullmatch(text)
        unit = _UNITS.get(found[2]) if found else None
        if found is None or unit is None or not int(found[1]):
            raise ValueError(f'A rate is like "10/s", "100/min" or "500/hour", not {text!r}')
        return cls(int(found[1]) / unit, int(found[1]) if burst is None else burst)

    def spend(self, state: float, now: float, amount: float = 1.0) -> float:
        """Take ``amount`` from a bucket: its new state; or, where that is too much, minus the seconds after
        which it would not be: then nothing was taken. (0.2 µs)"""
        after = amount * self.cost + (state if state > now else now)  # noqa: FURB136 (0.1 µs less than max)
        late = after - now - self.depth
        return after if late <= 0 else -late


class Table:
    """Buckets by key. At most ``most``: those that were not asked for the longest time go, and begin anew."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self.most = most
        self._states: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def spend(self, key: str, rate: Rate, now: float) -> float:
        """Take one from a key's bucket: 0, or the seconds to wait where it is empty."""
        state = rate.spend(self._states.get(key, 0.0), now)
        if state < 0:
            if key in self._states:  # asked again: a flood does not age out while it is refused
                self._states.move_to_end(key)
            return -state
        self._states[key] = state
        self._states.move_to_end(key)
        if len(self._states) > self.most:
            self._states.popitem(last=False)
        return 0.0
