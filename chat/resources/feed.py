"""One worker's view of one model's changes: what comes from the layer goes to those whom it concerns.

A change carries the row as it was and as it is. As a rule that is enough, and nothing is asked: no thread
hop, no task. The database is asked, once for up to AT_ONCE changes, where rows are not everybody's, for
those who just got a snapshot, and where two changes of a row met: writers commit in one order and are heard
in another, so what this worker told last is kept for a while; where a change does not follow on that, the row
is read anew and what it is now is told. So the last word about a row is always the database's.

A worker that may have missed changes (it was cut off from Redis, the database failed, it can't keep up)
closes the sockets of those who follow the model, with 1001: they come back and get a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseError

from chat.realtime import log
from chat.realtime.codes import CloseCode
from chat.realtime.database import in_database
from chat.realtime.errors import BUGS
from chat.realtime.hub import Hub

from . import interest
from .delivery import encoded, send
from .errors import ResourceError, TooManySubscriptions, Unauthorized
from .groups import Following, Group, Index
from .looking import Facts, Needs, look
from .rights import FRESH
from .tracking import Row, Tracked, digest

if TYPE_CHECKING:
    from .resource import ModelResource

logger = logging.getLogger("chat.resources")

AT_ONCE = 100  # changes for which the database is asked together
MOST_WAITING = 10_000  # changes; a worker with more can't keep up
REMEMBERED = (
    5.0  # seconds for which the last word about a row is kept, and newcomers are a group of their own
)
MOST_REMEMBERED = 10_000  # rows
ATTEMPTS = 3  # at the database
PAUSE = 0.5  # seconds between them

TOO_MANY_ROWS = "This subscription follows more rows than it may. Narrow it with filters."
WORDS_MISSED = "changes may have been missed: subscribe again"


@dataclass(slots=True)
class Change:
    """``before`` has what filters look at; ``was`` and ``now`` are digests of whole rows. What the row was
    is not to be looked at where it is ``unknown``. ``only``: a group that looks again."""

    key: Any
    before: Row | None = None
    after: Row | None = None
    was: bytes = b""
    now: bytes = b""
    unknown: bool = False
    origin: str | None = None
    only: Following | None = None


class Feed:
    """A model's changes in one worker."""

    def __init__(self, hub: Hub, tracked: Tracked) -> None:
        self.hub = hub
        self.tracked = tracked
        self.indexes: dict[ModelResource, Index] = {}
        self.following: dict[Following, None] = {}  # those of the groups that remember
        self.opened: asyncio.Task[None] | None = None
        self.waiting = 0  # who are about to follow
        self._connects = 0
        self._queue: deque[Change] = deque()
        self._task: asyncio.Task[None] | None = None
        self._told: OrderedDict[Any, tuple[bytes, Row | None, float]] = OrderedDict()
        self._may: dict[tuple[ModelResource, Any], tuple[bool, float]] = {}

    # --- who follows ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """From now on every change reaches this worker. Raises LayerUnavailable."""
        if self.opened is None:
            self.opened = self.hub.loop.create_task(self._open())
        try:
            await asyncio.shield(self.opened)
        except BUGS:
            self.opened = None
            raise

    async def _open(self) -> None:
        await self.hub.listen(self.tracked.group)
        await interest.announce(self.hub, self.tracked.label)
        self._connects = self.hub.layer.reconnects

    def index(self, resource: ModelResource) -> Index:
        found = self.indexes.get(resource)
        if found is None:
            found = self.indexes[resource] = Index()
        return found

    def add(self, group: Group) -> None:
        self.index(group.resource).add(group)
        if isinstance(group, Following):
            self.following[group] = None

    def remove(self, group: Group) -> bool:
        """Forget a group without members; whether it was there."""
        index = self.indexes.get(group.resource)
        if index is None or not index.remove(group):
            return False
        if not index.groups:
            del self.indexes[group.resource]
        if isinstance(group, Following):
            del self.following[group]
        return True

    @property
    def is_idle(self) -> bool:
        return not self.indexes and not self.waiting

    def close(self) -> None:
        """Nobody follows the model any more."""
        self.hub.unlisten(self.tracked.group)
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()

    # --- what changes ---------------------------------------------------------------------------------

    def take(self, args: dict[str, Any]) -> None:
        """A change came from the layer."""
        if "key" not in args:
            self.lose("bulk")
            return
        tracked = self.tracked
        unknown = not args["before"]
        change = Change(
            tracked.unpack_key(args["key"]),
            None if unknown else tracked.unpack_row(args["before"]),
            tracked.unpack_row(args["after"]),
            args["was"],
            digest(args["after"]),
            unknown,
            args["origin"],
        )
        self.put(change)

    def put(self, change: Change) -> None:
        if self._task is None and not self._needs([change]):
            self._tell([change], Facts())
            return
        if len(self._queue) >= MOST_WAITING:
            self.lose("overflow")
            return
        self._queue.append(change)
        if self._task is None:
            self._task = self.hub.loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
                needs = self._needs(batch)
                self._tell(batch, await self._ask(needs) if needs else Facts())
        except DatabaseError:
            self.lose("database")
        except BUGS as error:
            log.failure(logger, "feed_failed", error, model=self.tracked.label)
            self.lose("failure")
        finally:
            self._task = None

    # --- what has to be asked -------------------------------------------------------------------------

    def _needs(self, batch: list[Change]) -> Needs:
        """What these changes need to know of the database."""
        needs = Needs(self.tracked)
        last: dict[Any, bytes] = {}
        for change in batch:
            key = change.key
            if change.only is None:
                known = last.get(key) or self._last(key)[0]
                if known and (change.unknown or change.was != known):
                    needs.unclear.add(key)
                    needs.rows.add(key)
                last[key] = change.now
            for group in self._concerned(change):
                if isinstance(group, Following):
                    self._need_of(needs, change, group)
                elif not group.open and group.decide(key, change.before, change.after, change.unknown):
                    needs.readers += self._stale(group)
        return needs

    def _need_of(self, needs: Needs, change: Change, group: Following) -> None:
        if not group.loaded:
            return
        if group.compares or change.only is not None:
            needs.rows.add(change.key)
        if group.resource.is_personal:
            needs.owners.setdefault((group.resource, _key_of(group.user)), (group.user, set()))[1].add(
                change.key
            )

    def _last(self, key: Any) -> tuple[bytes, Row | None]:
        """What this worker told last of a row, if that was a moment ago: its digest (else empty), and what
        filters look at."""
        told = self._told.get(key)
        if told is None or self.hub.loop.time() - told[2] > REMEMBERED:
            return b"", None
        return told[0], told[1]

    def _concerned(self, change: Change) -> list[Group]:
        """The groups that a change may concern."""
        if change.only is not None:
            return [change.only]
        if change.unknown:
            return [group for index in self.indexes.values() for group in index.groups.values()]
        rows = (change.before, change.after, self._last(change.key)[1])
        return [group for index in self.indexes.values() for group in index.concerned(rows)]

    def _stale(self, group: Group) -> list[tuple[ModelResource, Any]]:
        """Members of whom it was not asked lately whether they may read: the resource and the user."""
        now, found = self.hub.loop.time(), []
        for user, members in group.members.items():
            known = self._may.get((group.resource, user))
            if known is None or now - known[1] > FRESH:
                found.append((group.resource, next(iter(members)).consumer.user))
        return found

    async def _ask(self, needs: Needs) -> Facts:
        """One visit to the database. Raises django.db.Error."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                facts = await in_database(look)(needs)
                break
            except DatabaseError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(PAUSE)
        now = self.hub.loop.time()
        for asked, may in facts.may.items():
            self._may[asked] = (may, now)
        return facts

    # --- telling --------------------------------------------------------------------------------------

    def _tell(self, batch: list[Change], facts: Facts) -> None:
        self._drop_refused(facts)
        for change in batch:
            for entering in self.following:
                if entering.collecting:
                    entering.touched.add(change.key)
            if change.only is not None:
                self._tell_following(change.only, change, facts.rows.get(change.key), facts)
                continue
            groups = self._concerned(change)
            before, after, unknown = change.before, change.after, change.unknown
            told, repeated = change.now, False
            if change.key in facts.unclear:
                after = facts.rows.get(change.key)
                told = digest(self.tracked.pack(after))
                was, slim = self._last(change.key)
                if was:
                    before, unknown, repeated = slim, False, was == told
            self._remember(change.key, told, after)
            for group in groups:
                if isinstance(group, Following):
                    row = facts.rows.get(change.key) if group.compares else after
                    self._tell_following(group, change, row, facts)
                elif group.size and not repeated:
                    operation = group.decide(change.key, before, after, unknown)
                    if operation is not None:
                        send(self.hub, group, operation, change.key, after, source=change.origin)

    def _tell_following(self, group: Following, change: Change, row: Row | None, facts: Facts) -> None:
        if not group.loaded:
            return
        data = None
        if group.resource.is_personal:
            mine = facts.visible.get((group.resource, _key_of(group.user)), {})
            row, data = mine.get(change.key, (None, None))
        has = row is not None and group.test(row)
        told = digest(self.tracked.pack(row)) if has and group.compares else None
        changed = change.only is not None or change.unknown or change.was != change.now
        operation = group.decide_held(change.key, has, told, changed)
        if operation is not None:
            shown = encoded(group, row, data) if has and row is not None else None
            send(self.hub, group, operation, change.key, row, shown, source=change.origin)
            if group.is_too_large:
                self.end(group, TooManySubscriptions(TOO_MANY_ROWS))

    def _remember(self, key: Any, told: bytes, row: Row | None) -> None:
        self._told[key] = (told, self.tracked.slim(row), self.hub.loop.time())
        self._told.move_to_end(key)
        while len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)

    # --- ends -----------------------------------------------------------------------------------------

    def _drop_refused(self, facts: Facts) -> None:
        """End the subscriptions of those who may not read any more."""
        refused = {asked for asked, may in facts.may.items() if not may}
        if not refused:
            return
        for resource, index in list(self.indexes.items()):
            for group in list(index.groups.values()):
                for user in list(group.members):
                    if (resource, user) in refused:
                        for connection in list(group.members[user]):
                            connection.consumer.end_subscription(group.id, Unauthorized())

    def end(self, group: Group, why: ResourceError) -> None:
        """End a group's subscriptions, and say why."""
        for connection in list(group.connections()):
            connection.consumer.end_subscription(group.id, why)

    def lose(self, reason: str) -> None:
        """Changes were missed, or may have been: nobody may go on as if not."""
        self._queue.clear()
        lost = {
            connection
            for index in self.indexes.values()
            for group in index.groups.values()
            for connection in group.connections()
        }
        if lost:
            log.event(
                logger,
                logging.WARNING,
                "changes_missed",
                model=self.tracked.label,
                reason=reason,
                closed=len(lost),
            )
        for connection in lost:
            connection.close(CloseCode.GOING_AWAY, WORDS_MISSED)

    def sweep(self, now: float) -> None:
        """Once a second: forget what is old, and notice that Redis was away."""
        while self._told:
            key, told = next(iter(self._told.items()))
            if now - told[2] <= REMEMBERED:
                break
            del self._told[key]
        for asked in [asked for asked, (_, moment) in self._may.items() if now - moment > REMEMBERED]:
            del self._may[asked]
        if self.opened is not None and self.opened.done() and self.hub.layer.reconnects != self._connects:
            self._connects = self.hub.layer.reconnects
            self.lose("redis")


def _key_of(user: Any) -> Any:
    return getattr(user, "pk", None)
