"""How a subscriber gets to where the changes begin: rows as they are, then each change, none lost or twice.

Rows are read while changes go on. So newcomers with a snapshot are a group of their own for REMEMBERED
seconds: it remembers what each row looked like in the snapshot, and at each change looks at the row anew.
What looks as it was told is not told again. After that everything that was under way during the read has
been heard, and they join the others. All who come while one snapshot is read share the next one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from chat.realtime.database import in_database

from . import messages
from .errors import ResourceError, TooManySubscriptions
from .feed import REMEMBERED, TOO_MANY_ROWS, Change, Feed
from .groups import Following, Group
from .members import Subscription, admit, drop_if_empty
from .options import Query
from .reading import ordered
from .resource import READ, ModelResource
from .rights import Asking, fresh
from .tracking import Tracked, digest

if TYPE_CHECKING:
    from .consumer import ResourceConsumer

Rows = list[msgspec.Raw]


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
    admit(consumer, subscription)
    return None


# --- without a snapshot, where rows are not everybody's -------------------------------------------------


async def _load(feed: Feed, group: Following, user: Any) -> None:
    """Have a group remember which rows its members may have seen."""
    if group.loaded:
        return
    if group.loading is None:
        group.collecting = True
        group.loading = feed.hub.loop.create_task(_load_keys(feed, group, user))
    await asyncio.shield(group.loading)


async def _load_keys(feed: Feed, group: Following, user: Any) -> None:
    try:
        found = await in_database(read_snapshot)(feed.tracked, group.resource, user, group.query)
        _loaded(feed, group, dict.fromkeys(found))
    finally:
        group.loading = None


def _loaded(feed: Feed, group: Following, held: dict[Any, bytes | None]) -> None:
    """The rows are known; those that changed meanwhile are looked at again."""
    group.held = held
    group.loaded, group.collecting = True, False
    touched, group.touched = group.touched, set()
    for key in touched:
        feed.put(Change(key, only=group))


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
        self._entering: list[tuple[ResourceConsumer, Subscription]] = []
        before = None if after is None else after.task
        self.task: asyncio.Task[Rows] = feed.hub.loop.create_task(self._run(before))

    async def enter(self, consumer: ResourceConsumer, subscription: Subscription) -> Rows:
        self._entering.append((consumer, subscription))
        return await asyncio.shield(self.task)

    async def _run(self, before: asyncio.Task[Rows] | None) -> Rows:
        if before is not None:
            await asyncio.wait({before})
        self.begun = True
        feed, main = self.feed, self.main
        resource = main.resource
        newcomers = Following(("new", main.id, id(self)), resource, self.query, main.user, main)
        newcomers.waiting += 1
        main.waiting += 1  # until the newcomers have joined it
        feed.waiting += 1
        feed.add(newcomers)
        newcomers.collecting = True
        try:
            found = await in_database(read_snapshot)(feed.tracked, resource, self.user, self.query)
            self._admit(newcomers, {key: known for key, (_, known) in found.items()})
        finally:
            if main.gate is self:
                main.gate = None
            newcomers.waiting -= 1
            drop_if_empty(feed, newcomers)
            feed.waiting -= 1
        feed.hub.loop.call_later(REMEMBERED, _merge, feed, newcomers, main)
        return [msgspec.Raw(shown) for shown, _ in found.values()]

    def _admit(self, newcomers: Following, held: dict[Any, bytes | None]) -> None:
        """All at once: no change may come between the rows and the members."""
        for consumer, subscription in self._entering:
            subscription.group = newcomers
            try:
                admit(consumer, subscription)
            except ResourceError:  # it has gone; the others have not
                subscription.group = self.main
        _loaded(self.feed, newcomers, held)


def _merge(feed: Feed, newcomers: Following, main: Group) -> None:
    """The newcomers know what all know: they join the others."""
    if newcomers not in feed.following:
        return  # all of them have gone
    if isinstance(main, Following) and not main.loaded:
        if main.loading is not None:
            feed.hub.loop.call_later(1.0, _merge, feed, newcomers, main)
            return
        main.held, main.loaded = dict.fromkeys(newcomers.held), True
    for user, members in list(newcomers.members.items()):
        for connection in list(members):
            subscription = connection.consumer.subscriptions.get(newcomers.id)
            newcomers.discard(connection, user)
            if subscription is not None:
                subscription.group = main
                main.add(connection, user)
    drop_if_empty(feed, newcomers)


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
    if shape.plain and not resource.checks_objects:
        render = shape.renderer(query.columns)
        for values in rows.values_list(*names):
            row = dict(zip(names, values, strict=True))
            found[values[0]] = messages.encode(render(row)), digest(tracked.pack(row))
    else:
        for one in rows:
            if not resource.checks_objects or asking.allows(one):
                row = {name: getattr(one, name) for name in names}
                shown = shape.of_instance(one, query.columns, asking.context)
                found[one.pk] = messages.encode(shown), digest(tracked.pack(row))
    if len(found) > most:
        raise TooManySubscriptions(TOO_MANY_ROWS, details={"limit": most})
    return found
