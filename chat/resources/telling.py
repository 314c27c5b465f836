"""Changes on their way to the workers, from a server's process or another one.

Nothing waits for Redis but a process without a server, which may end next, and that only while Redis answers.
What could not be told is remembered by model, and told as soon as Redis is there again: that rows have
changed, so that who follows the model begins anew.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

from chat.realtime import log
from chat.realtime.errors import LayerUnavailable
from chat.realtime.hub import CONTROL
from chat.realtime.layers import MemoryLayer, get_layer
from chat.realtime.questions import publish
from chat.realtime.runtime import local_hub, on_loop, run_sync, sync_loop

from . import interest

logger = logging.getLogger("chat.resources")

PATIENCE = 5.0  # seconds that a process without a server waits for Redis
PAUSE = 5.0  # seconds for which it does not try again, once Redis did not answer
TRY_EVERY = 1.0  # seconds between attempts to tell what could not be told

_silent_until = 0.0
_untold: dict[str, str] = {}  # label → group
_retrying = False
_lock = threading.Lock()


def tell(label: str, group: str, args: dict[str, Any]) -> None:
    """Publish one change of a model. On any thread."""
    message = {"type": CONTROL, "ask": "row_changed", "args": args, "reply_to": "", "ref": ""}
    hub = local_hub()
    if hub is not None:
        hub.loop.call_soon_threadsafe(_publish_here, label, group, message)
    elif isinstance(get_layer(), MemoryLayer):
        pass  # nobody could hear it
    elif time.monotonic() < _silent_until:
        _not_told(label, group)
    elif on_loop():  # asynchronous code outside a server can't wait here
        asyncio.run_coroutine_threadsafe(_publish(label, group, message), sync_loop())
    else:
        try:
            run_sync(_publish(label, group, message), PATIENCE)
        except TimeoutError:
            _not_told(label, group)


def _publish_here(label: str, group: str, message: dict[str, Any]) -> None:
    version = interest.version(label)

    def done(result: Any) -> None:
        if isinstance(result, BaseException):
            _not_told(label, group)
        elif result == 0:
            interest.unwatched(label, version)

    get_layer().for_loop().publish(group, message, done)


async def _publish(label: str, group: str, message: dict[str, Any]) -> None:
    version = interest.version(label)
    try:
        if await publish(get_layer().for_loop(), group, message) == 0:
            interest.unwatched(label, version)
    except LayerUnavailable:
        _not_told(label, group)


def _not_told(label: str, group: str) -> None:
    """Remember it, and see to it that it is made good."""
    global _silent_until, _retrying
    with _lock:
        new = label not in _untold
        _untold[label] = group
        _silent_until = time.monotonic() + PAUSE
        begin, _retrying = not _retrying, True
    if new:
        log.event(logger, logging.ERROR, "change_not_told", model=label)
    if begin:
        hub = local_hub()
        loop = hub.loop if hub is not None else sync_loop()
        asyncio.run_coroutine_threadsafe(_make_good(), loop)


async def _make_good() -> None:
    """Until all is told: that rows of these models have changed."""
    global _silent_until, _retrying
    while True:
        await asyncio.sleep(TRY_EVERY)
        with _lock:
            waiting = list(_untold.items())
            if not waiting:
                _retrying = False
                return
        for label, group in waiting:
            message = {"type": CONTROL, "ask": "row_changed", "args": {"model": label}}
            try:
                await publish(get_layer().for_loop(), group, {**message, "reply_to": "", "ref": ""})
            except LayerUnavailable:
                break
            with _lock:
                _silent_until = 0.0
                del _untold[label]
            log.event(logger, logging.INFO, "change_made_good", model=label)
