"""The metrics of this part's table, and what the project has set itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..metrics import Metric, Target

READS, PIPELINE, FOLLOWERS = "resources-reads", "resources-pipeline", "resources-followers"
FILTERS, SAVES = "resources-filters", "resources-saves"

METRICS: Sequence[Metric] = (
    Metric("one_cpu_us", READS, "read one row, one request in flight: CPU per request", "µs", 0),
    Metric("one_s", READS, "… requests per second", "/s", 0),
    Metric("one8_cpu_us", READS, "read one row, on 8 sockets at once: CPU per request", "µs", 0),
    Metric("one8_s", READS, "… requests per second", "/s", 0),
    Metric("page_cpu_us", READS, "read a page of 100 rows, one request in flight: CPU per request", "µs", 0),
    Metric("page_s", READS, "… requests per second", "/s", 0),
    Metric("page8_cpu_us", READS, "read a page of 100 rows, on 8 sockets at once: CPU per request", "µs", 0),
    Metric("page8_s", READS, "… requests per second", "/s", 0),
    Metric(
        "pipe_single_cpu_us", PIPELINE, "read one row, one at a time on one socket: CPU per request", "µs", 0
    ),
    Metric("pipe_cpu_us", PIPELINE, "… 100 at once on one socket", "µs", 0),
    Metric("pipe_cpu_ratio", PIPELINE, "… the second over the first", "", 2),
    Metric("pipe_single_wall_us", PIPELINE, "… one at a time: time per request", "µs", 0),
    Metric("pipe_wall_us", PIPELINE, "… 100 at once: time per request", "µs", 0),
    Metric("pipe_wall_ratio", PIPELINE, "… the second over the first", "", 2),
    Metric(
        "pipe_page_single_cpu_us",
        PIPELINE,
        "read a page, one at a time on one socket: CPU per request",
        "µs",
        0,
    ),
    Metric("pipe_page_cpu_us", PIPELINE, "… 100 at once on one socket", "µs", 0),
    Metric("pipe_page_cpu_ratio", PIPELINE, "… the second over the first", "", 2),
    Metric("pipe_page_single_wall_us", PIPELINE, "… one at a time: time per request", "µs", 0),
    Metric("pipe_page_wall_us", PIPELINE, "… 100 at once: time per request", "µs", 0),
    Metric("pipe_page_wall_ratio", PIPELINE, "… the second over the first", "", 2),
    Metric("follow_chat_cpu_us", FOLLOWERS, "chat message to a room of 1,000: CPU per delivery", "µs"),
    Metric(
        "follow_task_cpu_us", FOLLOWERS, "change by another process, 1,000 followers: CPU per delivery", "µs"
    ),
    Metric("follow_task_ratio", FOLLOWERS, "… over the chat's", "", 2),
    Metric(
        "follow_socket_cpu_us", FOLLOWERS, "`update` over a socket, 1,000 followers: CPU per delivery", "µs"
    ),
    Metric("follow_socket_ratio", FOLLOWERS, "… over the chat's", "", 2),
    Metric("follow_alone_us", FOLLOWERS, "… an `update` that concerns nobody: CPU per request", "µs", 0),
    Metric("follow_rest_ratio", FOLLOWERS, "… without the request, deliveries alone, over the chat's", "", 2),
    Metric("follow_bytes", FOLLOWERS, "… length of the notification", "bytes", 0),
    Metric("follow_chat_bytes", FOLLOWERS, "… length of the chat message", "bytes", 0),
    Metric(
        "filter_same_few_us", FILTERS, "10 of 100 subscriptions match, one filter: CPU per change", "µs", 0
    ),
    Metric("filter_same_many_us", FILTERS, "… 10 of 10,000", "µs", 0),
    Metric("filter_same_ratio", FILTERS, "… the second over the first", "", 2),
    Metric(
        "filter_own_few_us",
        FILTERS,
        "10 of 100 match, each with a condition of its own: CPU per change",
        "µs",
        0,
    ),
    Metric("filter_own_many_us", FILTERS, "… 10 of 10,000", "µs", 0),
    Metric("filter_own_ratio", FILTERS, "… the second over the first", "", 2),
    Metric(
        "filter_two_few_us",
        FILTERS,
        "10 of 100 match, one of two equalities is true of all: CPU per change",
        "µs",
        0,
    ),
    Metric("filter_two_many_us", FILTERS, "… 10 of 10,000", "µs", 0),
    Metric("filter_two_ratio", FILTERS, "… the second over the first", "", 2),
    Metric("save_single_plain_us", SAVES, "save a row in autocommit, an unregistered model: CPU", "µs", 0),
    Metric("save_single_us", SAVES, "… a registered one that nobody follows", "µs", 0),
    Metric("save_single_ratio", SAVES, "… the second over the first", "", 3),
    Metric("save_single_inside_ratio", SAVES, "… inside a server's worker: the second over the first", "", 3),
    Metric(
        "save_atomic_plain_us", SAVES, "save one row in a transaction, an unregistered model: CPU", "µs", 0
    ),
    Metric("save_atomic_us", SAVES, "… a registered one that nobody follows", "µs", 0),
    Metric("save_atomic_ratio", SAVES, "… the second over the first", "", 3),
    Metric("save_atomic_inside_ratio", SAVES, "… inside a server's worker: the second over the first", "", 3),
    Metric(
        "save_many_plain_us",
        SAVES,
        "save 100 rows in one transaction, an unregistered model: CPU per row",
        "µs",
        0,
    ),
    Metric("save_many_us", SAVES, "… a registered one that nobody follows", "µs", 0),
    Metric("save_many_ratio", SAVES, "… the second over the first", "", 3),
    Metric("save_many_inside_ratio", SAVES, "… inside a server's worker: the second over the first", "", 3),
    Metric(
        "save_create_plain_us",
        SAVES,
        "create 100 rows in one transaction, an unregistered model: CPU per row",
        "µs",
        0,
    ),
    Metric("save_create_us", SAVES, "… a registered one that nobody follows", "µs", 0),
    Metric("save_create_ratio", SAVES, "… the second over the first", "", 3),
    Metric("save_create_inside_ratio", SAVES, "… inside a server's worker: the second over the first", "", 3),
)

DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
RATIOS = (
    ("pipe_cpu_ratio", 1.0, "100 reads of a row at once over one at a time: CPU per request"),
    ("pipe_wall_ratio", 1.0, "100 reads of a row at once over one at a time: time per request"),
    ("pipe_page_cpu_ratio", 1.0, "100 pages at once over one at a time: CPU per request"),
    ("pipe_page_wall_ratio", 1.0, "100 pages at once over one at a time: time per request"),
    ("follow_task_ratio", 1.3, "a change by another process over a chat message: CPU per delivery"),
    ("follow_socket_ratio", 1.3, "an `update` over a socket over a chat message: CPU per delivery"),
    ("follow_rest_ratio", 1.3, "the same without the request: CPU per delivery"),
    ("filter_same_ratio", 2.0, "10,000 subscriptions over 100, one filter: CPU per change"),
    ("filter_own_ratio", 2.0, "10,000 subscriptions over 100, conditions of their own: CPU per change"),
    ("filter_two_ratio", 2.0, "10,000 subscriptions over 100, two equalities: CPU per change"),
    ("save_single_ratio", 1.1, "saving a registered model over another, in autocommit: CPU"),
    ("save_atomic_ratio", 1.1, "saving a registered model over another, each in a transaction: CPU"),
    ("save_many_ratio", 1.1, "saving a registered model over another, 100 in a transaction: CPU"),
    ("save_create_ratio", 1.1, "creating rows of a registered model over another: CPU"),
    ("save_single_inside_ratio", 1.1, "saving inside a worker, in autocommit: CPU"),
    ("save_atomic_inside_ratio", 1.1, "saving inside a worker, each in a transaction: CPU"),
    ("save_many_inside_ratio", 1.1, "saving inside a worker, 100 in a transaction: CPU"),
    ("save_create_inside_ratio", 1.1, "creating inside a worker: CPU"),
)
"""What is compared inside one sample: the metric, what is asked, and the row's words."""


def _targets() -> Iterator[Target]:
    for key in ("one_cpu_us", "one8_cpu_us", "page_cpu_us", "page8_cpu_us"):
        for database in DATABASES:
            yield Target(key, f"rest_{database}", 0.5, ours=f"ours_{database}")
        yield Target(key, "keeping_sqlite", 0.5, ours="ours_sqlite")
    for key, factor, words in RATIOS:
        for database, name in DATABASES.items():
            yield Target(key, None, factor, ours=f"ours_{database}", label=f"{words}, {name}")


TARGETS: Sequence[Target] = tuple(_targets())
