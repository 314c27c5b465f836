"""What belongs together in a run: servers, what is asked of them, and the page that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .metrics import METRICS, TARGETS, Metric, Target
from .peers import PEERS, Peer
from .resources import metrics as resource_metrics
from .resources.servers import SERVERS
from .resources.workloads import RESOURCES
from .workloads import WORKLOADS, Workload


@dataclass(frozen=True)
class Part:
    """One part of the run, with a table of its own."""

    key: str
    heading: str
    file: str
    """The name of its page in results/, without the ending."""
    servers: Mapping[str, Peer]
    """By key, in the order in which they take turns."""
    order: Sequence[str]
    """Their keys in the order of the columns."""
    workloads: Sequence[Workload]
    metrics: Sequence[Metric]
    targets: Sequence[Target]
    compares_workers: bool = False
    """Whether the servers also run with more than one worker."""


CHAT = Part(
    key="chat",
    heading="Speed beside other chat servers",
    file="latest",
    servers=PEERS,
    order=("plain", "socketio", "ours"),
    workloads=WORKLOADS,
    metrics=METRICS,
    targets=TARGETS,
    compares_workers=True,
)
MODELS = Part(
    key="resources",
    heading="Speed of models over WebSocket",
    file="resources",
    servers=SERVERS,
    order=tuple(SERVERS),
    workloads=RESOURCES,
    metrics=resource_metrics.METRICS,
    targets=resource_metrics.TARGETS,
)
PARTS = (CHAT, MODELS)
