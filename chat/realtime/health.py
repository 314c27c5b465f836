"""Whether this worker is able to serve."""

from __future__ import annotations

from .layers import MemoryLayer, get_layer
from .runtime import local_hub, run_sync

TIMEOUT = 2.0  # seconds for Redis to answer


async def areadiness() -> tuple[bool, str]:
    """``(ready, reason)``: not while draining, nor while the layer is out of reach, nor while deaf."""
    hub = local_hub()
    if hub is not None and hub.draining:
        return False, "draining"
    if hub is not None and hub.deaf:
        return False, "deaf: it does not hear through redis what it says itself"
    layer = get_layer().for_loop()
    if not isinstance(layer, MemoryLayer) and not await layer.ping(TIMEOUT):
        return False, "redis can't be reached"
    return True, "ok"


def readiness() -> tuple[bool, str]:
    """``areadiness`` for sync views."""
    try:
        return run_sync(areadiness(), TIMEOUT + 1)
    except TimeoutError:
        return False, "redis can't be reached"
