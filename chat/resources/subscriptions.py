"""A connection's subscriptions: how one begins, with or without a snapshot, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from .groups import Following, Group
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
    subscription, rows = await _begin(consumer, resource, query)
    ident = subscription.group.id
    context.subscription_id = ident
    context.result = {"subscription_id": ident, "schema": resource.schema, "entity": resource.entity}
    if rows is not None:
        context.result["snapshot"] = rows
        context.metadata = {"total": len(rows), "count": len(rows)}
    try:
        await _after(ResourceHook.AFTER_SUBSCRIBE, context, resource)
    except BaseException:
        if consumer.subscriptions.pop(ident, None) is not None:
            subscription.end(consumer.connection)
        raise
    return Answer(context.result, context.metadata)


async def _begin(
    consumer: ResourceConsumer, resource: ModelResource, query: Query
) -> tuple[Subscription, list[msgspec.Raw] | None]:
    """Become a member of the query's group. From here on the notifications wait for the response."""
    feed = feed_of(consumer.hub, tracked(resource.model))
    feed.waiting += 1
    try:
        await feed.open()
        if len(consumer.subscriptions) + len(consumer.entering) >= consumer.max_subscriptions:
            raise TooManySubscriptions(details={"limit": consumer.max_subscriptions})
        user = consumer.user
        group = _group_for(consumer, feed, resource, query)
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


def _group_for(consumer: ResourceConsumer, feed: Feed, resource: ModelResource, query: Query) -> Group:
    """The group of those who follow the same; of a connection each is in another one."""
    index = feed.index(resource)
    user = getattr(consumer.user, "pk", None) if resource.is_personal else None
    for number in range(consumer.max_subscriptions + 1):
        key = (resource.schema, resource.entity, query.filters, query.columns, user, number)
        group = index.groups.get(key)
        if group is None:
            if resource.is_personal:
                group = Following(key, resource, query, consumer.user)
            else:
                group = Group(key, resource, query)
            feed.add(group)
            return group
        if group.id not in consumer.subscriptions and group.id not in consumer.entering:
            return group
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
