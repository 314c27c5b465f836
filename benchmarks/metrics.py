"""The metrics of the chat's table and the targets that the project has set itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One row: what a workload gives, and how it is written."""

    key: str
    workload: str
    label: str
    unit: str
    digits: int = 1


@dataclass(frozen=True)
class Target:
    """`metric` of this project with one worker: at most `factor` times the peer's, or `factor` itself."""

    metric: str
    peer: str | None
    factor: float
    ours: str = "ours"
    """The server whose metric it is."""
    label: str | None = None
    """What the row says, if not what the metric's says."""


METRICS: Sequence[Metric] = (
    Metric("fanout_cpu_us", "fanout", "fan-out 1 x 500, one message in flight: CPU per delivery", "µs"),
    Metric("fanout_deliveries_s", "fanout", "… deliveries per second", "/s", 0),
    Metric("fanout_p50_ms", "fanout", "… latency p50", "ms"),
    Metric("fanout_p99_ms", "fanout", "… latency p99", "ms"),
    Metric("fanout8_cpu_us", "fanout", "fan-out 1 x 500, eight in flight: CPU per delivery", "µs"),
    Metric("fanout8_deliveries_s", "fanout", "… deliveries per second", "/s", 0),
    Metric("small_cpu_us", "small", "small rooms 200 x 2, saturated: CPU per message (two deliveries)", "µs"),
    Metric("small_messages_s", "small", "… messages per second", "/s", 0),
    Metric("small_p50_ms", "small", "… latency p50", "ms"),
    Metric("small_p99_ms", "small", "… latency p99", "ms"),
    Metric("small_busy", "small", "… share of its core that the server used", "", 2),
    Metric("paced_cpu_us", "small", "small rooms 200 x 2, 250 messages/s: CPU per message", "µs"),
    Metric("paced_p50_ms", "small", "… latency p50", "ms", 2),
    Metric("paced_p99_ms", "small", "… latency p99", "ms", 2),
    Metric("idle_kib", "idle", "memory per idle connection (RSS), the first {idle_few}", "KiB"),
    Metric("idle_many_kib", "idle", "… {idle_many}", "KiB"),
    Metric("idle_next_kib", "idle", "… each of those after the first {idle_few}", "KiB"),
    Metric("idle_busy", "idle", "… share of a core that {idle_many} idle connections cost", "", 3),
    Metric("empty_mib", "idle", "… of the server without any", "MiB", 0),
    Metric("connect_us", "connect", "CPU per connect, rooms of two", "µs", 0),
    Metric("connect_crowd_us", "connect", "CPU per connect, one large room", "µs", 0),
    Metric("disconnect_us", "connect", "CPU per disconnect, rooms of two", "µs", 0),
    Metric("scale_few_us", "scale", "fan-out to rooms of 500, {few} connections: CPU per delivery", "µs"),
    Metric("scale_many_us", "scale", "… {many} connections: CPU per delivery", "µs"),
    Metric("scale_ratio", "scale", "… the second over the first", "", 2),
    Metric("scale_few_kib", "scale", "… memory per connection, {few} connections", "KiB"),
    Metric("scale_many_kib", "scale", "… memory per connection, {many} connections", "KiB"),
    Metric("scale_memory_ratio", "scale", "… the second over the first", "", 2),
)

TARGETS: Sequence[Target] = (
    Target("fanout_cpu_us", "socketio", 0.8),
    Target("fanout_cpu_us", "plain", 0.05),
    Target("small_cpu_us", "socketio", 1.0),
    Target("small_p99_ms", "socketio", 0.6, label="small rooms 200 x 2, saturated: latency p99"),
    Target("idle_kib", "socketio", 0.65),
    Target("connect_us", "socketio", 1.0),
    Target("scale_ratio", None, 1.2, label="many connections over few: CPU per delivery"),
    Target("scale_memory_ratio", None, 1.2, label="many connections over few: memory per connection"),
)
