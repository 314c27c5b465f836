"""A connection's subscriptions: how one begins, with or without a snapshot, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from chat.realtime.database import in_database

from . import hooks, registry
from .changes import origin
from .entering import enter
from .errors import (
    InvalidOperation,
    MissingSubscription,
    SubscriptionNotFound,
    TooManySubscriptions,
)
from .feed import Feed
from .feeds import close_if_idle, feed_of
from .groups import Following, Group, has_to_look
from .hooks import ResourceContext, ResourceHook
from .members import Subscription, drop_if_empty
from .operations import Answer, asking_of, context_of, guarded, query_of
from .options import Query
from .resource import READ, SUBSCRIBE, ModelResource
from .tracking import tracked

if TYPE_CHECKING:
    from .consumer import ResourceConsumer
    from .messages import Request


async def subscribe(consumer: ResourceConsumer, message: Request) -> Answer:
    """Follow the rows that fit the options. Raises ResourceError, LayerUnavailable."""
    resource = registry.lookup(message.schema, message.entity)
    if SUBSCRIBE not in resource.operations:
        raise InvalidOperation(details={"operation": SUBSCRIBE})
    context = context_of(consumer, message, resource)
    for point in (ResourceHook.BEFORE_HANDLE, ResourceHook.BEFORE_SUBSCRIBE):
        if hooks.has(point):
            await hooks.run(point, context, type(resource))
    await guarded(SUBSCRIBE, lambda: in_database(asking_of)(context, SUBSCRIBE))
    query = query_of(context)
    subscription, rows = await _begin(consumer, resource, query, context.user)
    ident = subscription.group.id
    context.subscription_id = ident
    context.result = {"subscription_id": ident, "schema": resource.schema, "entity": resource.entity}
    if rows is not None:
        context.result["snapshot"] = rows
        context.metadata = {"total": len(rows), "count": len(rows)}
    try:
        await _after(ResourceHook.AFTER_SUBSCRIBE, context, resource)
    except BaseException:
        subscription.withdraw(consumer)
        raise
    return Answer(context.result, context.metadata)


async def _begin(
    consumer: ResourceConsumer, resource: ModelResource, query: Query, user: Any
) -> tuple[Subscription, list[msgspec.Raw] | None]:
    """Become a member of the query's group, as the user who was asked whether they may. From here on the
    notifications wait for the response."""
    feed = feed_of(consumer.hub, tracked(resource.model))
    feed.waiting += 1
    try:
        await feed.open()
        if len(consumer.subscriptions) + len(consumer.entering) >= consumer.max_subscriptions:
            raise TooManySubscriptions(details={"limit": consumer.max_subscriptions})
        group = _group_for(consumer, feed, resource, query, user)
        group.waiting += 1
        consumer.entering.append(group.id)
        try:
            subscription = Subscription(feed, group, getattr(user, "pk", None), origin.get())
            rows = await guarded(READ, lambda: enter(consumer, subscription, query, user))
        finally:
            consumer.entering.remove(group.id)
            group.waiting -= 1
            drop_if_empty(feed, group)
        return subscription, rows
    finally:
        feed.waiting -= 1
        close_if_idle(feed)


def _group_for(
    consumer: ResourceConsumer, feed: Feed, resource: ModelResource, query: Query, user: Any
) -> Group:
    """The group of those who follow the same; of a connection each is in another one."""
    looks = has_to_look(resource, query)
    owner = getattr(user, "pk", None) if looks else None
    for number in range(consumer.max_subscriptions + 1):
        key = (resource.schema, resource.entity, query.filters, query.columns, owner, number)
        found = feed.followers.find(resource, key)
        if found is None:
            made = Following(key, resource, query, user) if looks else Group(key, resource, query)
            feed.followers.add(made)
            return made
        if found.id not in consumer.subscriptions and found.id not in consumer.entering:
            return found
    raise TooManySubscriptions()


async def unsubscribe(consumer: ResourceConsumer, message: Request) -> Answer:
    """End a subscription. Raises ResourceError."""
    ident = message.subscription_id
    if not ident:
        raise MissingSubscription()
    subscription = consumer.subscriptions.get(ident)
    if subscription is None:
        raise SubscriptionNotFound(details={"subscription_id": ident})
    resource = subscription.group.resource
    context = context_of(consumer, message, resource)
    context.subscription_id = ident
    for point in (ResourceHook.BEFORE_HANDLE, ResourceHook.BEFORE_UNSUBSCRIBE):
        if hooks.has(point):
            await hooks.run(point, context, type(resource))
    if consumer.subscriptions.pop(ident, None) is None:
        raise SubscriptionNotFound(details={"subscription_id": ident})
    subscription.end(consumer.connection)
    context.result = {"subscription_id": ident}
    await _after(ResourceHook.AFTER_UNSUBSCRIBE, context, resource)
    return Answer(context.result)


async def _after(point: ResourceHook, context: ResourceContext, resource: ModelResource) -> None:
    if hooks.has(point):
        await hooks.run(point, context, type(resource))
