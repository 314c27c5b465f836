"""How many members a group has on all workers, kept in Redis: for limits that hold across workers.

One hash a group: worker → its members. A worker's key expires when it stops saying that it lives, so the
count of one that was killed is left out within ALIVE_FOR seconds. After Redis lost its data, each worker
writes its counts again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .errors import Full, LayerUnavailable
from .hub import Hub
from .layers import LoopLayer
from .redis_link import RedisLink, settle

ALIVE_FOR = 6  # seconds
SAY_EVERY = 2.0  # seconds
KEEP = 3600  # seconds until an abandoned group's hash goes; renewed at every change

# KEYS: the group's hash. ARGV: prefix of worker keys, worker, change, limit (0: none), keep.
# Returns the members after the change, or -1 when the limit forbids it. Counts below one are removed.
_CHANGE = """
local total, mine = 0, 0
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
  local worker, count = counts[i], tonumber(counts[i + 1])
  if worker == ARGV[2] then mine = count
  elseif redis.call('EXISTS', ARGV[1] .. worker) == 0 then redis.call('HDEL', KEYS[1], worker); count = 0 end
  total = total + count
end
local change, limit = tonumber(ARGV[3]), tonumber(ARGV[4])
if change >= 0 and limit > 0 and total >= limit then return -1 end
if mine + change <= 0 then redis.call('HDEL', KEYS[1], ARGV[2]); return total - mine end
redis.call('HINCRBY', KEYS[1], ARGV[2], change)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return total + change
"""


class Census:
    """The counts of one worker's groups. ``counted`` has its own members of each."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.counted: dict[str, int] = {}
        self._doubtful: set[str] = set()  # groups of which a change may not have reached Redis
        self._renewed = hub.loop.time()
        self._rewrite = 0  # how often the counts are still to be written
        self._said = hub.loop.time() - SAY_EVERY
        self._ups = -1
        if isinstance(hub.layer, LoopLayer):
            hub.layer.restore = self.restore
        hub.sweepers.append(self._say_alive)
        self._say_alive(hub.loop.time())

    async def enter(self, group: str, limit: int) -> int:
        """Count a new member; returns all members with it. Raises Full when ``limit`` (0: none) is reached,
        LayerUnavailable when Redis can't say."""
        if not isinstance(self.hub.layer, LoopLayer):
            total = self.counted.get(group, 0)
            if limit and total >= limit:
                raise Full(retry_after=5)
            self.counted[group] = total + 1
            return total + 1
        answer: asyncio.Future[int] = self.hub.loop.create_future()
        # Counted before the answer: should it fail on the way, leaving twice is harmless, never is not.
        self.counted[group] = self.counted.get(group, 0) + 1
        self._change(group, 1, limit, lambda result: settle(answer, result))
        try:
            total = await answer
        except (OSError, TimeoutError) as error:
            self._forget_one(group)  # it is doubtful by now: what Redis did or did not is written over
            raise LayerUnavailable() from error
        except asyncio.CancelledError:
            self.leave(group)
            raise
        if total < 0:
            self._forget_one(group)
            raise Full(retry_after=5)
        return total

    async def check(self, group: str, limit: int) -> None:
        """Raise what ``enter`` would raise now, without counting anybody."""
        if not limit:
            return
        if isinstance(self.hub.layer, LoopLayer):
            answer: asyncio.Future[int] = self.hub.loop.create_future()
            self._change(group, 0, limit, lambda result: settle(answer, result))
            try:
                full = await answer < 0
            except (OSError, TimeoutError) as error:
                raise LayerUnavailable() from error
        else:
            full = self.counted.get(group, 0) >= limit
        if full:
            raise Full(retry_after=5)

    def leave(self, group: str, done: Callable[[int], None] | None = None) -> None:
        """A member has gone; ``done(members left)`` is called where the count is known."""
        self._forget_one(group)
        if not isinstance(self.hub.layer, LoopLayer):
            if done is not None:
                done(self.counted.get(group, 0))
            return
        self._change(group, -1, 0, lambda left: done(left) if done and isinstance(left, int) else None)

    def _forget_one(self, group: str) -> None:
        count = self.counted.get(group, 0) - 1
        if count > 0:
            self.counted[group] = count
        else:
            self.counted.pop(group, None)

    def _change(self, group: str, change: int, limit: int, done: Callable[[Any], None]) -> None:
        layer: LoopLayer = self.hub.layer

        def changed(result: Any) -> None:
            if isinstance(result, Exception):
                self._doubtful.add(group)
                self._rewrite = 2
            done(result)

        layer.link_of(group).command(
            "EVAL",
            _CHANGE,
            1,
            f"{layer.prefix}:census:{group}",
            f"{layer.prefix}:worker:",
            self.hub.worker,
            change,
            limit,
            KEEP,
            done=changed,
        )

    def _say_alive(self, now: float) -> None:
        """Renew the worker's key on every Redis. What Redis may have wrong is written anew: all counts after
        a reconnect (it may have lost them) or a standstill of ours (others may have struck them off)."""
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
            self._rewrite = max(self._rewrite, 1)
        for link in layer.links():
            link.command(*self._alive(layer))
        if self._rewrite:
            self._rewrite -= 1
            self._write_counts(layer)

    def _write_counts(self, layer: LoopLayer) -> None:
        for link in layer.links():
            for command in self.restore(link):
                link.command(*command)
        if not self._rewrite:
            self._doubtful.clear()

    def restore(self, link: RedisLink) -> list[tuple[Any, ...]]:
        """The commands that write this worker's counts to one Redis."""
        layer: LoopLayer = self.hub.layer
        commands: list[tuple[Any, ...]] = [self._alive(layer)]
        for group in {*self.counted, *self._doubtful}:
            if layer.link_of(group) is not link:
                continue
            key = f"{layer.prefix}:census:{group}"
            if group in self.counted:
                commands.append(("HSET", key, self.hub.worker, self.counted[group]))
                commands.append(("EXPIRE", key, KEEP))
            else:
                commands.append(("HDEL", key, self.hub.worker))
        return commands

    def _alive(self, layer: LoopLayer) -> tuple[Any, ...]:
        return ("SET", f"{layer.prefix}:worker:{self.hub.worker}", "1", "EX", ALIVE_FOR)
