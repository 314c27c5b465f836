"""How a subscriber gets to where the changes begin: rows as they are, then each change, none lost or twice.

Rows are read while changes go on. So newcomers with a snapshot are a group of their own for REMEMBERED
seconds: it remembers what each row looked like in the snapshot, and at each change looks at the row anew.
What looks as it was told is not told again. After that everything that was under way during the read has
been heard, and they join the others (`merging.py`). All who come while one snapshot is read share the next
one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from chat.realtime.database import in_database
from chat.realtime.errors import LayerUnavailable

from . import messages
from .errors import ResourceError, TooManySubscriptions
from .feed import Feed, retrieved
from .groups import Following, Group
from .heard import REMEMBERED
from .judging import TOO_MANY_ROWS
from .members import Subscription, admit, drop_if_empty
from .merging import merge
from .options import Query
from .reading import ordered
from .resource import READ, ModelResource
from .rights import Asking, fresh
from .tracking import Tracked, digest

if TYPE_CHECKING:
    from .consumer import ResourceConsumer

Rows = list[msgspec.Raw]

ATTEMPTS = 3  # at a reading during which no change is missed


async def enter(
    consumer: ResourceConsumer, subscription: Subscription, query: Query, user: Any
) -> Rows | None:
    """Put the connection into the subscription's group; returns the snapshot, where one was asked for.

    Raises TooManySubscriptions, django.db.Error.
    """
    feed, group = subscription.feed, subscription.group
    if query.snapshot:
        return await _with_snapshot(consumer, subscription, query, user)
    if isinstance(group, Following):
        await _load(feed, group, user)
    await feed.catch_up()
    admit(consumer, subscription)
    return None


# --- without a snapshot, where rows are not everybody's -------------------------------------------------


async def _load(feed: Feed, group: Following, user: Any) -> None:
    """Have a group remember which rows its members may have seen."""
    while not group.loaded:
        if group.loading is None:
            group.loading = feed.hub.loop.create_task(_load_keys(feed, group, user))
        await asyncio.shield(group.loading)


async def _load_keys(feed: Feed, group: Following, user: Any) -> None:
    try:
        found = await _read(feed, group, group.query, user)
        if not group.loaded:  # by newcomers that have joined it
            _loaded(feed, group, dict.fromkeys(found))
    finally:
        group.loading = None


async def _read(feed: Feed, group: Following, query: Query, user: Any) -> dict[Any, tuple[bytes, bytes]]:
    """The rows of a group, which notes what changes meanwhile. Raises LayerUnavailable, django.db.Error."""
    try:
        for _ in range(ATTEMPTS):
            await feed.open()
            group.begin()
            losses = feed.losses
            found = await in_database(read_snapshot)(feed.tracked, group.resource, user, query)
            if feed.losses == losses and not group.overrun:
                return found
            # Something was missed during the read: once more.
        raise LayerUnavailable()
    except BaseException:
        group.collecting = False
        group.touched.clear()
        raise


def _loaded(feed: Feed, group: Following, held: dict[Any, bytes | None]) -> None:
    """The rows are known; those that changed meanwhile are looked at again."""
    group.held = held
    group.loaded, group.collecting = True, False
    touched, group.touched = group.touched, set()
    for key in touched:
        feed.look_again(group, key)


# --- with a snapshot ----------------------------------------------------------------------------------


async def _with_snapshot(
    consumer: ResourceConsumer, subscription: Subscription, query: Query, user: Any
) -> Rows:
    feed, main = subscription.feed, subscription.group
    gate = main.gate
    if gate is None or gate.begun or gate.query.sort != query.sort:
        gate = main.gate = Gate(feed, main, query, user, after=gate)
    return await gate.enter(consumer, subscription)


class Gate:
    """Those who wait for one reading of a group's snapshot."""

    def __init__(self, feed: Feed, main: Group, query: Query, user: Any, after: Gate | None) -> None:
        self.feed = feed
        self.main = main
        self.query = query
        self.user = user
        self.begun = False
        self._entering: dict[Subscription, ResourceConsumer] = {}
        before = None if after is None else after.task
        self.task: asyncio.Task[Rows] = feed.hub.loop.create_task(self._run(before))
        self.task.add_done_callback(retrieved)

    async def enter(self, consumer: ResourceConsumer, subscription: Subscription) -> Rows:
        self._entering[subscription] = consumer
        try:
            return await asyncio.shield(self.task)
        except BaseException:  # its time is over, or the reading failed: it is no member, and won't be
            self._entering.pop(subscription, None)
            subscription.withdraw(consumer)
            raise

    async def _run(self, before: asyncio.Task[Rows] | None) -> Rows:
        if before is not None:
            await asyncio.wait({before})
        self.begun = True
        feed, main = self.feed, self.main
        if main.gate is self:
            main.gate = None  # who comes now waits for the next
        if not self._entering:
            return []
        newcomers = Following(("new", main.id, id(self)), main.resource, self.query, main.user, main)
        newcomers.waiting += 1
        main.waiting += 1  # until the newcomers have joined it
        feed.waiting += 1
        feed.followers.add(newcomers)
        try:
            found = await _read(feed, newcomers, self.query, self.user)
            self._admit(newcomers, {key: known for key, (_, known) in found.items()})
        finally:
            newcomers.waiting -= 1
            feed.waiting -= 1
            drop_if_empty(feed, newcomers)
        feed.hub.loop.call_later(REMEMBERED, merge, feed, newcomers)
        return [msgspec.Raw(shown) for shown, _ in found.values()]

    def _admit(self, newcomers: Following, held: dict[Any, bytes | None]) -> None:
        """All at once: no change may come between the rows and the members."""
        for subscription, consumer in self._entering.items():
            subscription.group = newcomers
            try:
                admit(consumer, subscription)
            except ResourceError:  # it has gone; the others have not
                subscription.group = self.main
        _loaded(self.feed, newcomers, held)


# --- on a database thread -----------------------------------------------------------------------------


def read_snapshot(
    tracked: Tracked, resource: ModelResource, user: Any, query: Query
) -> dict[Any, tuple[bytes, bytes]]:
    """Primary key → the row as the client sees it, and its digest, of all that fit. Raises
    TooManySubscriptions."""
    user = fresh(user)
    asking = Asking(resource, user, READ)
    shape, most, names = resource.representation, resource.max_followed, tracked.attnames
    rows = ordered(resource.get_queryset(user).filter(query.filters.q()), query)[: most + 1]
    found: dict[Any, tuple[bytes, bytes]] = {}
    looked = 0  # at so many rows, of which some may be hidden: what is beyond the last is not known
    if shape.plain and not resource.checks_objects:
        render = shape.renderer(query.columns)
        for values in rows.values_list(*names):
            looked += 1
            row = dict(zip(names, values, strict=True))
            found[values[0]] = messages.encode(render(row)), digest(tracked.pack(row))
    else:
        for one in rows:
            looked += 1
            if not resource.checks_objects or asking.allows(one):
                row = {name: getattr(one, name) for name in names}
                shown = shape.of_instance(one, query.columns, asking.context)
                found[one.pk] = messages.encode(shown), digest(tracked.pack(row))
    if looked > most:
        raise TooManySubscriptions(TOO_MANY_ROWS, details={"limit": most})
    return found
