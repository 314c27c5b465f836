"""`manage.py chat_rooms`: the rooms with somebody in them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from chat.management.operator_command import NO_WORKER, OperatorCommand, positive
from chat.management.output import clean, count, number, table
from chat.operator import MAX_LISTED
from chat.validators import ROOM_NAME_LENGTH


class Command(OperatorCommand):
    help = "List the rooms that have members now, on all workers, the largest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
        parser.add_argument(
            "--limit",
            type=positive,
            default=100,
            help=f"how many rooms, at most {MAX_LISTED:,} (default: 100)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        limit = min(options["limit"], MAX_LISTED)
        found = self.ask(lambda operator: operator.rooms(limit))
        if not found["workers"]:
            raise CommandError(NO_WORKER)
        if options["json"]:
            self.write_json(found)
            return
        if not found["rooms"]:
            self.stdout.write("Nobody is in a room.")
            return
        rows = [(clean(room["room"], ROOM_NAME_LENGTH), number(room["members"])) for room in found["rooms"]]
        self.stdout.write(table(("ROOM", "MEMBERS"), rows, ("MEMBERS",)))
        if found["total"] > len(rows):
            self.stdout.write(f"The largest {len(rows):,} of {count(found['total'], 'room')}.")
