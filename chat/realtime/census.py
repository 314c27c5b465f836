"""How many there are on all workers, kept in Redis: members of a room, connections of a user, of an address.

One hash a count: worker → its share. A worker's key expires when it stops saying that it lives, so the share
of one that was killed is left out within ALIVE_FOR seconds. After Redis lost its data, each worker writes its
shares again. One script counts all that a connection takes part in, or nothing of it: that is one question a
handshake, and a refused handshake leaves nothing behind. With several Redis, all counts are on one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import LayerUnavailable, Refused
from .groups import WORKERS
from .hub import Hub
from .layers import LoopLayer
from .ratelimit import Rate
from .redis_link import RedisLink, settle
from .redis_publisher import script

ALIVE_FOR = 6  # seconds
SAY_EVERY = 2.0  # seconds
KEEP = 3600  # seconds until an abandoned hash goes; renewed at every change
AT_ONCE = 1000  # counts in one command that writes them again: 1 ms of Redis' time

# KEYS: a hash each, and an arrival's state where there is one. ARGV: prefix of worker keys, worker, keep,
# change, microseconds that an arrival takes to come back (0: there is none) and that a burst takes, then a
# limit for each hash (0: none). Returns each total after the change; or -n when the n-th key's limit forbids
# it, of an arrival with the microseconds to wait: then nothing is counted. An arrival is taken as
# `Rate.spend` does it, also where a limit forbids the rest: it is an attempt.
_CHANGE = script("""
local me, alive, totals, mine = ARGV[2], {}, {}, {}
local change, cost, hashes = tonumber(ARGV[4]), tonumber(ARGV[5]), #KEYS
if cost > 0 then
  local time, state = redis.call('TIME'), tonumber(redis.call('GET', KEYS[hashes]) or 0)
  local now = time[1] * 1000000 + time[2]
  local after = math.max(state, now) + cost
  local late = after - now - ARGV[6]
  if late > 0 then return {-hashes, math.ceil(late)} end
  redis.call('SET', KEYS[hashes], string.format('%.2f', after), 'PX', math.ceil((after - now) / 1000) + 1)
  hashes = hashes - 1
end
for k = 1, hashes do
  local total, counts = 0, redis.call('HGETALL', KEYS[k])
  mine[k] = 0
  for i = 1, #counts, 2 do
    local worker, count = counts[i], tonumber(counts[i + 1])
    if worker == me then mine[k] = count
    else
      if alive[worker] == nil then alive[worker] = redis.call('EXISTS', ARGV[1] .. worker) end
      if alive[worker] == 0 then redis.call('HDEL', KEYS[k], worker); count = 0 end
    end
    total = total + count
  end
  local limit = tonumber(ARGV[6 + k])
  if change >= 0 and limit > 0 and total >= limit then return {-k} end
  totals[k] = total
end
if change == 0 then return totals end
for k = 1, hashes do
  if mine[k] + change <= 0 then
    redis.call('HDEL', KEYS[k], me)
    totals[k] = totals[k] - mine[k]
  else
    redis.call('HINCRBY', KEYS[k], me, change)
    redis.call('EXPIRE', KEYS[k], ARGV[3])
    totals[k] = totals[k] + change
  end
end
return totals
""")

# KEYS: a hash each. ARGV: worker, keep, then its share of each (0: none).
_WRITE = """
for k = 1, #KEYS do
  if ARGV[2 + k] == '0' then redis.call('HDEL', KEYS[k], ARGV[1])
  else
    redis.call('HSET', KEYS[k], ARGV[1], ARGV[2 + k])
    redis.call('EXPIRE', KEYS[k], ARGV[2])
  end
end
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One count that a member takes part in. ``name`` is a group's, never a client's text; ``limit`` 0: none;
    ``refusal()`` is raised where the limit is reached."""

    name: str
    limit: int
    refusal: Callable[[], Refused]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A handshake, at a rate that holds over all workers. ``name`` is never a client's text;
    ``refusal(seconds to wait)`` is raised where they come too fast."""

    name: str
    rate: Rate
    refusal: Callable[[float], Refused]


class Census:
    """The counts of one worker. ``counted`` has its own share of each."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.counted: dict[str, int] = {}
        self._doubtful: set[str] = set()  # counts of which a change may not have reached Redis
        self._renewed = hub.loop.time()
        self._rewrite = 0  # how often the counts are still to be written
        self._writes = 0  # how often they were
        self._said = hub.loop.time() - SAY_EVERY
        self._ups = -1
        if isinstance(hub.layer, LoopLayer):
            hub.layer.restore = self.restore
        hub.sweepers.append(self._say_alive)
        self._say_alive(hub.loop.time())

    async def enter(self, places: Sequence[Place], arrival: Arrival | None = None) -> list[int]:
        """Count a new member in all places or in none; returns the totals with it.

        Raises the refusal of the first place that is full, or of an arrival too fast; LayerUnavailable when
        Redis can't say. Without Redis an arrival is not looked at.
        """
        if not isinstance(self.hub.layer, LoopLayer):
            self._check_here(places)
            return [self._count_one(place.name) for place in places]
        answer: asyncio.Future[list[int]] = self.hub.loop.create_future()
        names = [place.name for place in places]
        # Counted before the answer: should it fail on the way, leaving twice is harmless, never is not.
        for name in names:
            self._count_one(name)
        writes = self._writes
        limits = [place.limit for place in places]
        self._change(names, 1, limits, lambda result: settle(answer, result), arrival)
        try:
            totals = await answer
        except (OSError, TimeoutError) as error:
            if not places:
                return []  # a rate alone holds nobody up
            self._forget_one_each(names)  # it is doubtful by now: what Redis did or did not is written over
            raise LayerUnavailable() from error
        except asyncio.CancelledError:
            self.leave(names)
            raise
        if refusal := _refusal(places, arrival, totals):
            if writes == self._writes:
                self._forget_one_each(names)
            else:
                self.leave(names)  # counts that had this one in them were written meanwhile
            raise refusal
        return totals

    async def check(self, places: Sequence[Place], arrival: Arrival | None = None) -> None:
        """Raise what ``enter`` would raise now, without counting anybody but the arrival."""
        places = [place for place in places if place.limit]
        if not places and arrival is None:
            return
        if not isinstance(self.hub.layer, LoopLayer):
            self._check_here(places)
            return
        answer: asyncio.Future[list[int]] = self.hub.loop.create_future()
        names, limits = [place.name for place in places], [place.limit for place in places]
        self._change(names, 0, limits, lambda result: settle(answer, result), arrival)
        try:
            totals = await answer
        except (OSError, TimeoutError) as error:
            if not places:
                return
            raise LayerUnavailable() from error
        if refusal := _refusal(places, arrival, totals):
            raise refusal

    def leave(self, names: Sequence[str], done: Callable[[list[int]], None] | None = None) -> None:
        """A member has gone from all of these; ``done(totals left)`` is called where they are known."""
        self._forget_one_each(names)
        if not isinstance(self.hub.layer, LoopLayer):
            if done is not None:
                done([self.counted.get(name, 0) for name in names])
            return
        self._change(
            names, -1, [0] * len(names), lambda left: done(left) if done and isinstance(left, list) else None
        )

    def adopt(self, names: Iterable[str]) -> None:
        """Count members of ours that are there already: a limit was set that there was not before."""
        for name in names:
            self._count_one(name)
        self._rewrite = 2

    def write(self) -> None:
        """Write the counts now, where they are to be written at all."""
        if self._rewrite and isinstance(self.hub.layer, LoopLayer):
            self._rewrite -= 1
            self._write_counts(self.hub.layer)

    def _check_here(self, places: Sequence[Place]) -> None:
        for place in places:
            if place.limit and self.counted.get(place.name, 0) >= place.limit:
                raise place.refusal()

    def _count_one(self, name: str) -> int:
        count = self.counted[name] = self.counted.get(name, 0) + 1
        return count

    def _forget_one_each(self, names: Iterable[str]) -> None:
        for name in names:
            count = self.counted.get(name, 0) - 1
            if count > 0:
                self.counted[name] = count
            else:
                self.counted.pop(name, None)

    def _change(
        self,
        names: Sequence[str],
        change: int,
        limits: list[int],
        done: Callable[[Any], None],
        arrival: Arrival | None = None,
    ) -> None:
        layer: LoopLayer = self.hub.layer
        keys = [f"{layer.prefix}:census:{name}" for name in names]
        cost = depth = 0.0
        if arrival is not None:
            keys.append(f"{layer.prefix}:rate:{arrival.name}")
            cost = 1_000_000 / arrival.rate.per_second
            depth = (arrival.rate.burst + 0.01) * cost

        def changed(result: Any) -> None:
            if isinstance(result, Exception):
                self._doubtful.update(names)
                self._rewrite = 2
            done(result)

        self._link(layer).command(
            "EVALSHA",
            _CHANGE,
            len(keys),
            *keys,
            f"{layer.prefix}:worker:",
            self.hub.worker,
            KEEP,
            change,
            cost,
            depth,
            *limits,
            done=changed,
        )

    def _say_alive(self, now: float) -> None:
        """Renew the worker's key. What Redis may have wrong is written anew: all counts after a reconnect (it
        may have lost them) or a standstill of ours (others may have struck them off)."""
        layer = self.hub.layer
        if not isinstance(layer, LoopLayer):
            return
        ups = layer.reconnects
        if now - self._said < SAY_EVERY and ups == self._ups:
            return
        if (ups != self._ups or now - self._said > ALIVE_FOR) and self._ups >= 0:
            self._rewrite = 2  # and once more at the next time: a thawed Redis still executes old commands
        self._said, self._ups = now, ups
        layer.look()
        if now - self._renewed > KEEP / 4:  # or a room where nobody comes or goes would be forgotten
            self._renewed = now
            self._rewrite = 2
        self._link(layer).command(*self._alive(layer))
        self.write()

    def _write_counts(self, layer: LoopLayer) -> None:
        link = self._link(layer)
        for command in self.restore(link):
            link.command(*command)
        if not self._rewrite:
            self._doubtful.clear()

    def restore(self, link: RedisLink) -> list[tuple[Any, ...]]:
        """The commands that write this worker's counts to one Redis."""
        layer: LoopLayer = self.hub.layer
        if link is not self._link(layer):
            return []
        self._writes += 1
        commands: list[tuple[Any, ...]] = [self._alive(layer)]
        names = list({*self.counted, *self._doubtful})
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            keys = [f"{layer.prefix}:census:{name}" for name in some]
            counts = [self.counted.get(name, 0) for name in some]
            commands.append(("EVAL", _WRITE, len(keys), *keys, self.hub.worker, KEEP, *counts))
        return commands

    def _link(self, layer: LoopLayer) -> RedisLink:
        return layer.link_of(WORKERS)

    def _alive(self, layer: LoopLayer) -> tuple[Any, ...]:
        return ("SET", f"{layer.prefix}:worker:{self.hub.worker}", "1", "EX", ALIVE_FOR)


def _refusal(places: Sequence[Place], arrival: Arrival | None, totals: Sequence[int]) -> Refused | None:
    """What the script's answer forbids."""
    if not totals or totals[0] >= 0:
        return None
    which = -totals[0] - 1
    if arrival is not None and which == len(places):
        return arrival.refusal(totals[1] / 1_000_000)
    return places[which].refusal()


_censuses: dict[Hub, Census] = {}


def census_of(hub: Hub) -> Census:
    """The hub's census; made at the first call."""
    census = _censuses.get(hub)
    if census is None:
        for old in [known for known in _censuses if known.loop.is_closed()]:
            del _censuses[old]
        census = _censuses[hub] = Census(hub)
    return census
