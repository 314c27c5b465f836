"""The rows of this part's table."""

from __future__ import annotations

from collections.abc import Sequence

from ..workloads import Workload
from .changes import FILTERING, FOLLOWERS, filters, followers
from .reads import SOCKETS, pipeline, reads
from .saves import saves

OURS = frozenset(("ours_sqlite", "ours_postgres"))
PEER = frozenset(("rest_sqlite", "rest_postgres"))

RESOURCES: Sequence[Workload] = (
    Workload("resources-reads", reads, lambda plan: SOCKETS),
    Workload("resources-pipeline", pipeline, lambda plan: SOCKETS, servers=OURS | PEER),
    Workload("resources-followers", followers, lambda plan: 2 * FOLLOWERS + 1, servers=OURS),
    # The database has no part in it: one of the two is enough.
    Workload("resources-filters", filters, lambda plan: FILTERING, servers=frozenset(("ours_sqlite",))),
    Workload("resources-saves", saves, lambda plan: 0, servers=OURS),
)
"""In the order of the table."""
