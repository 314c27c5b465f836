"""`manage.py chat_connections`: who is connected."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from chat.management.operator_command import NO_WORKER, OperatorCommand, condition, positive, room_name
from chat.management.output import clean, count, milliseconds, number, since, table
from chat.operator import MAX_LISTED

TITLES = (
    "CONNECTION",
    "ROOM",
    "USER",
    "NAME",
    "ADDRESS",
    "SINCE",
    "IDLE",
    "RTT",
    "QUEUE",
    "IN",
    "OUT",
    "USER AGENT",
)
NUMBERS = ("SINCE", "IDLE", "RTT", "QUEUE", "IN", "OUT")


class Command(OperatorCommand):
    help = (
        "List live connections on all workers, the oldest first. RTT is the time to a client and back, QUEUE "
        "is how many messages wait for the client to read, IN and OUT are messages from and to it. NAME is "
        "what a visitor calls themself: nobody has checked it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--room", type=room_name, help="only those in this room")
        parser.add_argument("--user", help="only those of this user: an id, else a user name")
        parser.add_argument(
            "--username", metavar="NAME", help="of the user of this name, even if it is a number"
        )
        parser.add_argument(
            "--where",
            type=condition,
            metavar="JSON",
            help='like {"idle": {"gt": 600}} (docs/broadcasting.md)',
        )
        parser.add_argument(
            "--limit", type=positive, default=100, help=f"how many, at most {MAX_LISTED:,} (default: 100)"
        )
        parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        filters = {
            "room": options["room"],
            "user": options["user"],
            "username": options["username"],
            "where": options["where"],
            "limit": min(options["limit"], MAX_LISTED),
        }
        found = self.ask(lambda operator: operator.connections(**filters))
        if not found["workers"]:
            raise CommandError(NO_WORKER)
        if options["json"]:
            self.write_json(found)
            return
        if not found["connections"]:
            filtered = any(options[name] for name in ("room", "user", "username", "where"))
            self.stdout.write("No connection matches." if filtered else "Nobody is connected.")
            return
        self.stdout.write(table(TITLES, [_row(connection) for connection in found["connections"]], NUMBERS))
        shown, total = len(found["connections"]), found["total"]
        if total > shown:
            self.stdout.write(
                f"{shown:,} of {count(total, 'connection')}; --room, --user or --limit show others."
            )


def _row(connection: dict[str, Any]) -> tuple[str, ...]:
    user = connection["user"]
    return (
        connection["id"],
        clean(", ".join(connection["rooms"]), 32),
        clean(user and str(user["username"]), 20),
        clean(connection["name"], 20),
        clean(connection["address"], 40),
        since(connection["connected_at"]),
        since(connection["last_activity"]),
        milliseconds(connection["rtt"]),
        number(connection["queue_depth"]),
        number(connection["messages_in"]),
        number(connection["messages_out"]),
        clean(connection["user_agent"], 40),
    )
