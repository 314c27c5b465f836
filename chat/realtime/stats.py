"""What one worker says of itself."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from typing import Any

from .hub import Hub
from .layers import MemoryLayer

_PAGE = os.sysconf("SC_PAGE_SIZE")


def worker_stats(hub: Hub) -> dict[str, Any]:
    """Totals, rates a second over ten seconds, memory in bytes. The keys are public: docs/operating.md."""
    layer = hub.layer
    return {
        "worker": hub.worker,
        "pid": hub.pid,
        "host": socket.gethostname(),
        "started_at": datetime.fromtimestamp(hub.started_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "uptime": round(time.time() - hub.started_at),
        "state": "draining" if hub.draining else "serving",
        "connections": len(hub.connections),
        "rooms": len({room for c in hub.connections.values() for room in c.all_rooms()}),
        "messages_in": hub.counters.messages_in,
        "messages_out": hub.counters.messages_out,
        "rates": hub.rates(),
        "accepted": hub.counters.accepted,
        "refused": hub.counters.refused,
        "rate_limited": hub.counters.rate_limited,
        "dropped": hub.counters.dropped,
        "slow_closed": hub.counters.slow_closed,
        "rss": resident_bytes(),
        "layer": "ok" if layer.up else "down",
        "layer_kind": "memory" if isinstance(layer, MemoryLayer) else "redis",
    }


def resident_bytes() -> int:
    """The process's resident memory (proc(5), statm, second field); 0 where the system has no /proc."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        return 0
