"""`manage.py chat_close`: close connections."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from chat.api.serializers import MAX_REASON
from chat.management.operator_command import OperatorCommand, room_name
from chat.management.output import closing_words
from chat.operator import TARGETS


class Command(OperatorCommand):
    help = (
        "Close connections on all workers (code 4510); the clients do not come back by themselves. "
        "Who has to stay out needs more: close the room, or deactivate the user, in the admin."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument("--room", type=room_name, help="everybody in this room")
        target.add_argument("--user", help="all connections of this user: an id, else a user name")
        target.add_argument(
            "--username", metavar="NAME", help="of the user of this name, even if it is a number"
        )
        target.add_argument("--connection", metavar="ID", help="one connection, as chat_connections names it")
        target.add_argument("--all", action="store_true", help="everybody; asks first")
        parser.add_argument("--reason", default="", help="words that the client sees")
        parser.add_argument(
            "--yes",
            "--no-input",
            "--noinput",
            action="store_true",
            dest="yes",
            help="do not ask before closing everybody's connection",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        reason: str = options["reason"]
        if len(reason.encode()) > MAX_REASON:
            raise CommandError(f"--reason must not be longer than {MAX_REASON} bytes.")
        target = {key: options[key] for key in TARGETS if options.get(key)}
        if len(target) != 1:
            raise CommandError(f"Name exactly one of {', '.join('--' + key for key in TARGETS)}.")
        if options["all"] and not options["yes"]:
            self._confirm()
        closed = self.ask(lambda operator: operator.close(target, reason))
        if closed["closed"] or closed["left"]:
            self.stdout.write(closing_words(closed))
        else:
            self.require_worker()
            self.stdout.write("No connection matches: none was closed.")

    def _confirm(self) -> None:
        """Raises CommandError unless somebody says yes."""
        if not sys.stdin.isatty():
            raise CommandError("Nobody is there to ask: --all needs --yes here.")
        connections = self.ask(lambda operator: operator.stats())["totals"]["connections"]
        try:
            answer = input(f"Close all connections ({connections:,})? [y/N] ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was closed.")
