"""Whether anybody follows a model: what every process knows before it saves a row.

Saving a row of a model that nobody follows must cost nearly nothing, and a change must not be missed. So
each process keeps the set of models that are followed. A worker's first subscription to a model is confirmed
only when every process that listens has put it there. A process that can't know (it has just started,
or was cut off from Redis) takes every model for followed until it has asked the workers. A model leaves the
set when a change of it was published and no worker took it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

from chat.realtime import control, log, questions
from chat.realtime.errors import BUGS, LayerUnavailable
from chat.realtime.groups import topic_group
from chat.realtime.hub import CONTROL, Hub
from chat.realtime.layers import LoopLayer, MemoryLayer, get_layer
from chat.realtime.runtime import local_hub, on_hub, sync_loop

logger = logging.getLogger("chat.resources")

GROUP = topic_group("interest")
CONFIRM_TIMEOUT = 2.0  # seconds for every process to confirm
ASK_AGAIN = 1.0  # seconds after a question that could not be answered

_watched: dict[str, int] = {}  # label → the number of the telling that put it there
_tellings = 0
_known: tuple[Any, int] | None = None  # the layer, and its epoch, when the workers were asked
_asking = False
_not_before = 0.0
_lock = threading.Lock()


def watched(label: str) -> bool:
    """Whether a change of this model is to be published. On any thread; 0.1 µs where all is known."""
    known = _known
    if known is not None and known[0].epoch == known[1]:
        return label in _watched
    return _unknown()


def version(label: str) -> int | None:
    """What ``unwatched`` is told with."""
    return _watched.get(label)


def unwatched(label: str, version: int | None) -> None:
    """A change was published and nobody took it. Without effect where somebody has come meanwhile."""
    with _lock:
        if version is not None and _watched.get(label) == version:
            del _watched[label]


def _watch(label: str) -> None:
    global _tellings
    with _lock:
        _tellings += 1
        _watched[label] = _tellings


def _unknown() -> bool:
    """Ask in the background; until the answer is there every model counts as followed."""
    global _known, _asking
    layer = get_layer()
    hub = local_hub()
    if isinstance(layer, MemoryLayer):
        if layer.hub is None or layer.hub.loop.is_closed():
            return False  # no server in this process: nobody could hear it
        with _lock:
            _known = (layer, layer.epoch)
        return True  # this once
    loop = hub.loop if hub is not None else sync_loop()
    with _lock:
        if _asking or time.monotonic() < _not_before:
            return True
        _asking = True
    asyncio.run_coroutine_threadsafe(_ask(), loop)
    return True


async def _ask() -> None:
    """Learn from the workers what is followed."""
    global _known, _asking, _not_before
    answered = False
    try:
        layer = get_layer().for_loop()
        if not isinstance(layer.hub, Hub):
            await questions.listen(layer, GROUP)  # as hubs do from their first moment
        epoch = layer.epoch
        found = await control.question("followed", timeout=CONFIRM_TIMEOUT)
        for answer in found.answers:
            for label in answer["labels"]:
                _watch(label)
        answered = layer.up and not found.missing
        if answered:
            _known = (layer, epoch)
    except LayerUnavailable:
        pass
    except BUGS as error:  # nobody awaits this
        log.failure(logger, "interest_failed", error)
    finally:
        _asking = False
        _not_before = 0.0 if answered else time.monotonic() + ASK_AGAIN


async def announce(hub: Hub, label: str) -> None:
    """Have every process publish this model's changes; returns when all that listen have confirmed.

    Raises LayerUnavailable.
    """
    _watch(label)
    layer = hub.layer
    if isinstance(layer, MemoryLayer):
        return
    message = {"type": CONTROL, "ask": "follow", "args": {"label": label}}
    found = await questions.publish_and_gather(layer, GROUP, message, CONFIRM_TIMEOUT)
    if found.missing:  # one that is frozen, or has just gone
        log.event(logger, logging.WARNING, "interest_unconfirmed", model=label, missing=found.missing)


@questions.everywhere("follow")
def _follow(args: dict[str, Any]) -> dict[str, Any]:
    _watch(str(args["label"]))
    return {}


@control.command("follow")
def _follow_here(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    return _follow(args)


def _attach(hub: Hub) -> None:
    if isinstance(hub.layer, LoopLayer):
        hub.listen(GROUP)


on_hub.append(_attach)
