"""`manage.py chat_stats`: what the workers are doing."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError

from chat.management.operator_command import NO_WORKER, OperatorCommand
from chat.management.output import clean, count, duration, number, size, table

WATCH_EVERY = 2.0  # seconds
CLEAR = "\x1b[H\x1b[2J"  # cursor home, erase display (ECMA-48)

TITLES = (
    "WORKER",
    "HOST",
    "PID",
    "STATE",
    "UP",
    "CONNECTIONS",
    "ROOMS",
    "IN",
    "OUT",
    "IN/S",
    "OUT/S",
    "DROPPED",
    "SLOW",
    "MEMORY",
    "REDIS",
)
NUMBERS = TITLES[4:14]


class Command(OperatorCommand):
    help = (
        "Show connections, rooms, messages and memory, per worker and in all. IN and OUT are messages since "
        "the worker's start, IN/S and OUT/S those of the last 10 seconds; DROPPED counts messages that slow "
        "clients missed, SLOW the clients that were closed for it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=_seconds,
            const=WATCH_EVERY,
            metavar="SECONDS",
            help=f"show it again every so many seconds ({WATCH_EVERY:g}) until Ctrl-C",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        every: float | None = options["watch"]
        if every is None:
            self._show(options["json"])
            return
        try:
            while True:
                self._show(options["json"], again=True)
                self.stdout.flush()
                time.sleep(every)
        except KeyboardInterrupt:
            self.stdout.write("")

    def _show(self, as_json: bool, again: bool = False) -> None:
        try:
            stats = self.ask(lambda operator: operator.stats())
            if not stats["workers"]:
                raise CommandError(NO_WORKER)
        except CommandError as error:
            if not again:
                raise
            # Who watches wants to see them come back.
            self.stderr.write(str(error))
            return
        if as_json:
            self.write_json(stats)
            return
        if again and self.stdout.isatty():
            self.stdout.write(CLEAR, ending="")
        self.stdout.write(_table(stats))


def _table(stats: dict[str, Any]) -> str:
    workers, totals = stats["workers"], stats["totals"]
    rows = [
        (
            worker["worker"],
            clean(worker["host"], 24),
            str(worker["pid"]),
            worker["state"],
            duration(worker["uptime"]),
            *_figures(worker),
            size(worker["rss"]),
            worker["layer"] if worker["layer_kind"] == "redis" else "none",
        )
        for worker in workers
    ]
    memory = size(sum(worker["rss"] for worker in workers))
    total = (count(len(workers), "worker"), "", "", "", "", *_figures(totals), memory, "")
    return table(TITLES, [*rows, total], NUMBERS)


def _figures(of: dict[str, Any]) -> tuple[str, ...]:
    return (
        number(of["connections"]),
        number(of["rooms"]),
        number(of["messages_in"]),
        number(of["messages_out"]),
        number(of["rates"]["in"]),
        number(of["rates"]["out"]),
        number(of["dropped"]),
        number(of["slow_closed"]),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0.1 <= seconds <= 3600:
        raise ArgumentTypeError("must be a number of seconds from 0.1 to 3600")
    return seconds
