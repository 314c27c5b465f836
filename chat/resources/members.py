"""A connection in a group: coming in, and going out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chat.realtime.connection import State

from .errors import ResourceError
from .feed import Feed
from .feeds import close_if_idle
from .groups import Following, Group

if TYPE_CHECKING:
    from .consumer import ResourceConsumer


@dataclass(slots=True, eq=False)
class Subscription:
    """One of a connection's: in ``group``, as the user with this key, asked for by the request ``origin``."""

    feed: Feed
    group: Group
    user: Any
    origin: str | None

    def end(self, connection: Any) -> None:
        self.group.discard(connection, self.user)
        drop_if_empty(self.feed, self.group)

    def withdraw(self, consumer: ResourceConsumer) -> None:
        """End it, if it had begun: the request for it failed."""
        if consumer.subscriptions.get(self.group.id) is self:
            del consumer.subscriptions[self.group.id]
            self.end(consumer.connection)


def admit(consumer: ResourceConsumer, subscription: Subscription) -> None:
    """Make the connection a member. What it is told from now on waits for the response to its request.

    Raises ResourceError where the connection has gone meanwhile.
    """
    if consumer.connection.state is not State.OPEN:
        raise ResourceError("The connection has gone.")
    if subscription.origin is not None:
        consumer.expect(subscription.origin)
    consumer.subscriptions[subscription.group.id] = subscription
    subscription.group.add(consumer.connection, subscription.user)


def drop_if_empty(feed: Feed, group: Group) -> None:
    """Forget a group that nobody is in, or about to be in."""
    if group.size or group.waiting:
        return
    if feed.followers.remove(group) and isinstance(group, Following) and group.main is not None:
        group.main.waiting -= 1
        drop_if_empty(feed, group.main)
    close_if_idle(feed)
