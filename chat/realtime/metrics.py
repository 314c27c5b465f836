"""What a worker measures, for Prometheus: the table of metrics, one worker's values, the sum of several.

The message path counts plain integers (`counters.py`). Once a second, and at each scrape, a worker makes a
``snapshot`` of them; `metrics_files.py` lets the workers of one host see each other's. The labels are words
of the code's own: no room, no user, nothing that a client chose.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from .connection import State
from .counters import LATENCIES, OTHER, Histogram
from .hub import Hub
from .layers import LoopLayer
from .stats import resident_bytes

ROOM_GROUP = "realtime.room."  # how a room's group begins (groups.py)

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric: its kind, its label if it has one, and how workers' gauges become one value.

    Two labels are two words in ``label``, and so are their values: "order.create ok".
    """

    name: str
    kind: Kind
    help: str
    label: str | None = None
    join: Literal["sum", "max", "min"] = "sum"

    @property
    def labels(self) -> list[str]:
        return self.label.split() if self.label else []

    @property
    def exposed(self) -> str:
        """Its name in PromQL; a histogram has ``_bucket``, ``_sum`` and ``_count`` behind it."""
        return self.name + ("_total" if self.kind == "counter" else "")


MEASURES = (
    Measure("realtime_connections", "gauge", "Connections now.", "state"),
    Measure("realtime_connections_accepted", "counter", "Handshakes that were accepted."),
    Measure("realtime_refusals", "counter", "Handshakes that were refused, by error code.", "reason"),
    Measure("realtime_closes", "counter", "Open connections that ended, by close code.", "code"),
    Measure("realtime_rooms", "gauge", "Rooms with a member on this host."),
    Measure("realtime_messages_received", "counter", "Messages of clients, by type.", "type"),
    Measure("realtime_messages_sent", "counter", "Messages for clients, by type, one a receiver.", "type"),
    Measure("realtime_received_bytes", "counter", "Payload of the messages of clients."),
    Measure("realtime_sent_bytes", "counter", "Payload of the messages for clients."),
    Measure("realtime_errors", "counter", "Messages answered with an error, by its code.", "code"),
    Measure(
        "realtime_message_outcomes",
        "counter",
        "Messages by how they ended, where MessageMetrics is used.",
        "type outcome",
    ),
    Measure(
        "realtime_dropped_messages", "counter", "Messages that slow clients missed, by policy.", "policy"
    ),
    Measure("realtime_send_queue_messages", "gauge", "Messages that wait for clients to read."),
    Measure(
        "realtime_send_queue_largest", "gauge", "Messages that wait for the slowest client.", None, "max"
    ),
    Measure("realtime_handler_seconds", "histogram", "Time in the handlers of messages, by type.", "type"),
    Measure("realtime_delivery_seconds", "histogram", "From publishing a message to this host's sockets."),
    Measure("realtime_redis_up", "gauge", "1 where every worker has both of its connections.", None, "min"),
    Measure("realtime_redis_reconnects", "counter", "Times that a worker found Redis again."),
    Measure(
        "realtime_redis_round_trip_seconds", "gauge", "Of the slowest worker's last question.", None, "max"
    ),
    Measure("realtime_deaf", "counter", "Times that a worker did not hear itself through Redis."),
    Measure("realtime_workers", "gauge", "Worker processes of this host.", "state"),
    Measure(
        "realtime_event_loop_lag_seconds", "gauge", "How late the slowest worker's clock is.", None, "max"
    ),
    Measure("realtime_cpu_seconds", "counter", "Processor time of the workers."),
    Measure("realtime_resident_memory_bytes", "gauge", "Memory of the workers."),
    Measure("realtime_build_info", "gauge", "1; the versions are the labels."),
)

# Measure → its label's value ("" without a label) → number; of a histogram: its buckets and the sum of times.
Values = dict[str, dict[str, Any]]


def snapshot(hub: Hub, lag: float = 0.0) -> dict[str, Any]:
    """One worker's values: ``{"worker", "pid", "values", "rooms"}``, plain data."""
    counters, layer = hub.counters, hub.layer
    states = [0] * len(State)
    queued = largest = 0
    bytes_in = counters.bytes_in
    for connection in hub.connections.values():
        states[connection.state] += 1
        bytes_in += connection.bytes_in
        depth = connection.queue_depth
        if depth:
            queued += depth
            largest = max(largest, depth)
    state = "deaf" if hub.deaf else "draining" if hub.draining else "serving"
    redis = isinstance(layer, LoopLayer)
    values: Values = {
        "realtime_connections": {one.name.lower(): states[one] for one in State if one is not State.CLOSED},
        "realtime_connections_accepted": {"": counters.accepted},
        "realtime_refusals": dict(counters.refusals),
        "realtime_closes": dict(counters.closes),
        "realtime_messages_received": dict(counters.received),
        "realtime_messages_sent": {kind.decode("ascii", "replace"): n for kind, n in counters.sent.items()},
        "realtime_received_bytes": {"": bytes_in},
        "realtime_sent_bytes": {"": counters.bytes_out},
        "realtime_errors": dict(counters.errors),
        "realtime_message_outcomes": dict(counters.outcomes),
        "realtime_dropped_messages": dict(counters.drops),
        "realtime_send_queue_messages": {"": queued},
        "realtime_send_queue_largest": {"": largest},
        "realtime_handler_seconds": {kind: _plain(times) for kind, times in counters.handling.items()},
        "realtime_delivery_seconds": {"": _plain(counters.delivery)},
        "realtime_redis_up": {"": int(layer.up)} if redis else {},
        "realtime_redis_reconnects": {"": max(0, layer.reconnects - len(layer.links()))} if redis else {},
        "realtime_redis_round_trip_seconds": {"": layer.round_trip} if redis else {},
        "realtime_deaf": {"": counters.deaf},
        "realtime_workers": {state: 1},
        "realtime_event_loop_lag_seconds": {"": lag},
        "realtime_cpu_seconds": {"": time.process_time()},
        "realtime_resident_memory_bytes": {"": resident_bytes()},
    }
    rooms = [int(group[-16:], 16) for group in hub.groups if group.startswith(ROOM_GROUP)]
    return {"worker": hub.worker, "pid": os.getpid(), "values": values, "rooms": rooms}


def _plain(histogram: Histogram) -> list[float]:
    return [*histogram.buckets, histogram.total]


def merge(living: Iterable[dict[str, Any]], ended: Iterable[Values] = ()) -> Values:
    """The values of all workers as one: of those that have ended, only what they counted."""
    found: Values = {measure.name: {} for measure in MEASURES}
    rooms: set[int] = set()
    for one in living:
        _add(found, one["values"], gauges=True)
        rooms.update(one["rooms"])
    for values in ended:
        _add(found, values, gauges=False)
    found["realtime_rooms"] = {"": len(rooms)}
    return found


def counted(values: Values) -> Values:
    """What is kept of a worker that has ended."""
    return {m.name: values[m.name] for m in MEASURES if m.kind != "gauge" and m.name in values}


def _add(found: Values, values: Values, gauges: bool) -> None:
    for measure in MEASURES:
        if measure.kind == "gauge" and not gauges:
            continue
        into = found[measure.name]
        for label, value in values.get(measure.name, {}).items():
            into[label] = _join(measure, into[label], value) if label in into else value


def _join(measure: Measure, one: Any, other: Any) -> Any:
    if measure.kind == "histogram":
        return [a + b for a, b in zip(one, other, strict=True)]
    return {"sum": lambda: one + other, "max": lambda: max(one, other), "min": lambda: min(one, other)}[
        measure.join
    ]()


def families(values: Values) -> Iterator[Metric]:
    """The values as prometheus_client's metric families, for its encoders."""
    for measure in MEASURES:
        if measure.name == "realtime_build_info":
            yield _build_info(measure)
        else:
            yield _family(measure, values.get(measure.name, {}))


def _family(measure: Measure, values: dict[str, Any]) -> Metric:
    labels = measure.labels
    if measure.kind == "histogram":
        histogram = HistogramMetricFamily(measure.name, measure.help, labels=labels)
        for label, numbers in sorted(values.items()):
            *buckets, total = numbers
            histogram.add_metric(_words(labels, label), _cumulative(buckets), total)
        return histogram
    made = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    family = made(measure.name, measure.help, labels=labels)
    for label, number in sorted(values.items()):
        family.add_metric(_words(labels, label), number)
    return family


def _words(labels: list[str], value: str) -> list[str]:
    """The values of so many labels: "order.create ok" is two. What was too much to count has no word for the
    first."""
    if len(labels) < 2:
        return [value] if labels else []
    first, _, second = value.rpartition(" ")
    return [first or OTHER, second]


def _cumulative(buckets: list[float]) -> list[tuple[str, float]]:
    """Prometheus' buckets: each counts all that took at most its bound."""
    counts: list[tuple[str, float]] = []
    so_far = 0.0
    for bound, count in zip([*map(str, LATENCIES), "+Inf"], buckets, strict=True):
        so_far += count
        counts.append((bound, so_far))
    return counts


def _build_info(measure: Measure) -> Metric:
    packages = ("django", "channels", "daphne")
    family = GaugeMetricFamily(measure.name, measure.help, labels=["python", *packages])
    family.add_metric([platform.python_version(), *[version(name) for name in packages]], 1)
    return family
