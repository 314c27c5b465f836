"""Hooks of the test app, found at start: what `tests/test_hooks.py` watches."""

from typing import Any

from chat.realtime import Forbidden, Hook, LayerUnavailable, Refused, broadcast_room, hook
from chat.realtime.publish import abroadcast_room
from tests.app.extending import HookedBase


async def report(context: Any, **data: Any) -> None:
    """To whoever listens to the topic."""
    topic = context.consumer.url["topic"]
    await abroadcast_room(f"reports/{topic}", "report", {"point": context.point.value, **data})


@hook(Hook.BEFORE_CONNECT, scope=HookedBase)
def no_banned_rooms(context: Any) -> None:
    """A plain function, with the ORM."""
    from chat.models import Room

    if Room.objects.filter(name=context.consumer.url["topic"], closed=True).exists():
        raise Refused("That topic is closed.", code="topic_closed", status=410)


@hook(Hook.CONNECTED, scope=HookedBase)
async def connected(context: Any) -> None:
    await report(context)


@hook(Hook.CONNECTED, scope=HookedBase, order=-1)
async def fails(context: Any) -> None:
    raise RuntimeError("a hook's bug")


@hook(Hook.RETURNED, scope=HookedBase)
@hook(Hook.LOST, scope=HookedBase)
@hook(Hook.DISCONNECTED, scope=HookedBase)
async def told(context: Any) -> None:
    await report(context, code=context.code, previous=context.previous)


@hook(Hook.BEFORE_HANDLE, scope=HookedBase, order=2)
async def second(context: Any) -> None:
    if isinstance(context.message.data, list):
        context.message.data.append("second")


@hook(Hook.BEFORE_HANDLE, scope=HookedBase, order=1)
def first(context: Any) -> None:
    match context.message.type:
        case "forbidden":
            raise Forbidden("Not that.")
        case "renamed":
            context.message.type = "echo"
        case "bug":
            raise RuntimeError("a hook's bug: secret")
    if isinstance(context.message.data, list):
        context.message.data.append("first")


@hook(Hook.AFTER_HANDLE, scope=HookedBase)
async def result(context: Any) -> None:
    if isinstance(context.result, list):
        context.result = [*context.result, "after"]


@hook(Hook.BEFORE_PUBLISH)
async def words(context: Any) -> None:
    if isinstance(context.data, dict) and "swear" in context.data.values():
        context.data = {**context.data, "content": "****"}
    if isinstance(context.data, dict) and "unsayable" in context.data.values():
        raise Forbidden("That can't be said.")


@hook(Hook.AFTER_PUBLISH)
def published(context: Any) -> None:
    """A plain function on a thread: it may publish like any sync code."""
    if isinstance(context.data, dict) and "report" in context.data:
        told = {"room": context.room, "sender": context.sender, "workers": context.receipt.workers}
        try:
            broadcast_room(context.data["report"], "published", told)
        except LayerUnavailable:
            pass
