"""A feed over a table in memory, where commits, what is heard of them, visits to the database and time go on
as a test says: one step after another, in any order."""

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, ClassVar, Self
from unittest.mock import patch

import msgspec

from chat.realtime.connection import State
from chat.resources import entering, feed, interest
from chat.resources.columns import Column, Kind
from chat.resources.filters import read_filters
from chat.resources.groups import Following, Group
from chat.resources.looking import Facts, Needs
from chat.resources.members import Subscription, drop_if_empty
from chat.resources.options import Query
from chat.resources.tracking import Tracked, digest

NAMES = ("id", "a", "owner")
COLUMNS = {name: Column(name, name, Kind.INTEGER, True) for name in NAMES}
FILTERS: list[list[dict[str, Any]]] = [
    [],
    [{"column": "a", "operator": "eq", "value": 1}],
    [{"column": "a", "operator": "gt", "value": 1}],
    [{"column": "a", "operator": "neq", "value": 1}],
]
LATEST = 3.0  # seconds after its commit a change is heard: Redis' deadline

Row = dict[str, Any]


class Table(Tracked):
    """Whose rows are followed."""

    def __init__(self) -> None:
        self.label = self.group = "table"
        self.attnames = self.tested = NAMES
        self._special, self._pk_type = [], None


class Resource:
    """Shows the rows to everybody, or (``personal``) each to its owner."""

    permission_classes = ()
    max_followed = 1000
    schema, entity = "a", "table"
    filter_columns: ClassVar[dict[str, Column]] = COLUMNS

    def __init__(self, personal: bool) -> None:
        self.is_fixed = not personal
        self.representation = SimpleNamespace(renderer=lambda names: lambda row: {n: row[n] for n in names})


class Subscriber:
    """A connection and its consumer: ``rows`` are what it was told, ``wrong`` what it should not be."""

    def __init__(self, world: "World", resource: Resource, query: Query, user: int) -> None:
        self.id = f"c{len(world.subscribers)}"
        self.state = State.OPEN
        self.consumer = self.connection = self
        self.resource, self.query, self.owner = resource, query, user
        self.user = None if resource.is_fixed else SimpleNamespace(pk=user)
        self.subscriptions: dict[str, Subscription] = {}
        self.rows: dict[int, Row] | None = None
        self.early: list[dict[str, Any]] = []  # what came before the response
        self.last: dict[int, dict[str, Any]] = {}
        self.wrong: list[tuple[str, int]] = []
        self.lost = False
        self.task: asyncio.Task[None] | None = None

    def expect(self, number: str) -> None: ...

    def lose(self, words: str) -> None:
        self.lost, self.state = True, State.CLOSING
        for subscription in list(self.subscriptions.values()):
            subscription.withdraw(self)

    def begin(self, rows: list[msgspec.Raw] | None) -> None:
        self.rows = {row["id"]: row for row in [json.loads(bytes(raw)) for raw in rows or ()]}
        for told in self.early:
            self.hear(told)

    def take(self, frame: Any) -> None:
        told = json.loads(frame.payload)
        if self.rows is None:
            self.early.append(told)
        else:
            self.hear(told)

    def hear(self, told: dict[str, Any]) -> None:
        assert self.rows is not None
        key, operation = told["record_id"], told["operation"]
        self.last[key] = told
        if (operation == "create") == (key in self.rows):
            self.wrong.append((operation, key))
        if operation == "delete":
            self.rows.pop(key, None)
        else:
            self.rows[key] = told["data"]

    def expected(self, table: dict[int, Row]) -> dict[int, Row]:
        test = self.query.filters.compile()
        return {
            key: row
            for key, row in table.items()
            if test(row) and (self.resource.is_fixed or row["owner"] == self.owner)
        }


class World:
    """The table, the changes that are under way, the visits to the database that have not come back."""

    def __init__(self) -> None:
        self.now = 100.0
        self.table: dict[int, Row] = {}
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.visits: list[list[Any]] = []
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.subscribers: list[Subscriber] = []
        self.resources = Resource(False), Resource(True)
        self._patches = ExitStack()

    async def __aenter__(self) -> Self:
        for module, name, value in (
            (feed, "in_database", lambda _: self._visiting(self._look)),
            (entering, "in_database", lambda _: self._visiting(self._snapshot)),
            (interest, "announce", self._announce),
        ):
            self._patches.enter_context(patch.object(module, name, value))
        self.layer = SimpleNamespace(reconnects=0, publish=self._publish)
        self.announced = 0  # how often it was told that somebody follows, and listened for it
        loop = asyncio.get_running_loop()
        self.create_future, self.call_soon = loop.create_future, loop.call_soon
        own = {"loop": self, "layer": self.layer, "worker": "w", "connections": {}}
        hub: Any = SimpleNamespace(**own, give=self._give, listen=self._announce, unlisten=id)
        self.feed = feed.Feed(hub, Table())
        self.feed.waiting = 1  # it stays
        await self.feed.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._patches.close()
        for task in self.tasks:
            task.cancel()

    # --- what the feed takes for its loop, hub and database ---------------------------------------------

    def time(self) -> float:
        return self.now

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))
        return self.tasks[-1]

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        self.timers.append((self.now + delay, call, args))

    async def _announce(self, *_: Any) -> None:
        self.announced += 1

    def _publish(self, group: str, message: dict[str, Any], done: Callable[[Any], None]) -> None:
        """A mark: it comes back at once, before what was committed and is not heard yet."""
        self.call_soon(self.feed.take_mark, message["args"]["number"])
        done(1)

    def _give(self, members: Any, frame: Any) -> None:
        for member in list(members):
            member.take(frame)

    def _visiting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def asked(*args: Any) -> Any:
            visit = [asyncio.get_running_loop().create_future(), lambda: function(*args), None]
            self.visits.append(visit)
            return await visit[0]

        return asked

    def _look(self, needs: Needs) -> Facts:
        facts = Facts(rows={key: self.table[key] for key in needs.rows if key in self.table})
        for asked, owner in needs.owners.items():
            found = {key: self.table[key] for key in owner.keys if key in self.table}
            facts.may[asked] = True
            facts.visible[asked] = {k: (row, None) for k, row in found.items() if row["owner"] == asked[1]}
        return facts

    def _snapshot(self, tracked: Tracked, resource: Resource, user: Any, query: Query) -> Any:
        test = query.filters.compile()
        return {
            key: (msgspec.json.encode(row), digest(tracked.pack(row)))
            for key, row in self.table.items()
            if test(row) and (resource.is_fixed or row["owner"] == user.pk)
        }

    # --- steps --------------------------------------------------------------------------------------

    async def step(self, what: str, *args: Any) -> None:
        getattr(self, what)(*args)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    def commit(self, key: int, a: int | None, owner: int) -> None:
        """A row is created, changed or (``a`` is None) deleted."""
        before = self.table.pop(key, None)
        after = None if a is None else {"id": key, "a": a, "owner": owner}
        if after is not None:
            self.table[key] = after
        if before is None and after is None:
            return
        pack = self.feed.tracked.pack
        change = {"model": "table", "key": pack(key), "before": pack(before), "after": pack(after)}
        change |= {"was": digest(pack(before)), "origin": None}
        self.events.append((self.now, change))

    def hear(self, place: int) -> None:
        """One of the changes under way arrives."""
        if self.events:
            self.feed.take(self.events.pop(place % len(self.events))[1])

    def miss(self, place: int) -> None:
        """One of them is lost, and the worker learns that some were."""
        if self.events:
            self.events.pop(place % len(self.events))
            self.feed.lose("redis")

    def visit(self, place: int, returns: bool) -> None:
        """The database answers one who asks; the answer may be on its way for a while."""
        if self.visits:
            visit = self.visits[place % len(self.visits)]
            visit[2] = visit[2] or (visit[1](),)
            if returns:
                self.visits.remove(visit)
                if not visit[0].done():
                    visit[0].set_result(visit[2][0])

    def subscribe(self, personal: bool, filters: int, user: int, snapshot: bool) -> None:
        query = Query(read_filters(FILTERS[filters], COLUMNS), NAMES, snapshot=snapshot)
        one = Subscriber(self, self.resources[personal], query, user)
        self.subscribers.append(one)
        one.task = self.create_task(self._subscribe(one))

    async def _subscribe(self, one: Any) -> None:
        followers = self.feed.followers
        key = one.query.filters, one.user and one.owner
        group = followers.find(one.resource, key)
        if group is None:
            kind = Group if one.resource.is_fixed else Following
            group = kind(key, one.resource, one.query, one.user)
            followers.add(group)
        group.waiting += 1
        try:
            subscription = Subscription(self.feed, group, one.user and one.owner, None)
            rows = await entering.enter(one, subscription, one.query, one.user)
        finally:
            group.waiting -= 1
            drop_if_empty(self.feed, group)
        one.begin(rows)

    async def wait(self, seconds: float) -> None:
        """Time passes: whatever is under way arrives, sooner or later."""
        while self.events and self.now + seconds - self.events[0][0] > LATEST:
            await self.step("hear", 0)
        while self.visits:
            await self.step("visit", 0, True)
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            first = min(due, key=lambda timer: timer[0])
            self.timers.remove(first)
            self.now = max(self.now, first[0])
            first[1](*first[2])
            await self._settle()
        self.now = end
        self.feed.sweep(self.now)

    async def finish(self) -> None:
        """All is heard, all answers come, all timers run."""
        while self.events or self.visits or self.timers:
            while self.events:
                await self.step("hear", 0)
            await self.wait(1.0)
