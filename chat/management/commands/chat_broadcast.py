"""`manage.py chat_broadcast`: announce something to a room, or to everybody."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import CommandError

from chat.api.serializers import BroadcastSerializer
from chat.management.operator_command import OperatorCommand, room_name
from chat.management.output import count


class Command(OperatorCommand):
    help = (
        "Send a notification (or a system message) to a room, or to everybody. The words become data.content "
        "of the message; --data gives the whole of data as a JSON object."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("message", nargs="?", help='the words, for example "Back in five minutes"')
        parser.add_argument("--room", type=room_name, help="only those in this room")
        parser.add_argument(
            "--type", choices=("notification", "system"), default="notification", help="default: notification"
        )
        parser.add_argument("--data", metavar="JSON", help="a JSON object, instead of the words")

    def handle(self, *args: Any, **options: Any) -> None:
        body = BroadcastSerializer(
            data={"room": options["room"], "type": options["type"], "data": self._data(options)}
        )
        if not body.is_valid():
            raise CommandError(" ".join(str(text) for texts in body.errors.values() for text in texts))
        sent = body.validated_data
        receipt = self.ask(lambda operator: operator.broadcast(sent["room"], sent["type"], sent["data"]))
        place = f"room {options['room']}" if options["room"] else "everybody"
        if receipt["workers"]:
            taken = count(receipt["workers"], "worker")
            self.stdout.write(f"Sent to {place}: taken by {taken}, message {receipt['id']}.")
            return
        self.require_worker()
        if options["room"]:
            self.stdout.write(f"Nobody is in room {options['room']}: nobody received it.")
        else:
            self.stdout.write("Nobody is connected: nobody received it.")

    def _data(self, options: dict[str, Any]) -> Any:
        """Raises CommandError."""
        if (options["message"] is None) == (options["data"] is None):
            raise CommandError("Give the message's words, or --data with a JSON object.")
        if options["data"] is None:
            if not options["message"].strip():
                raise CommandError("The message is empty.")
            return {"content": options["message"]}
        try:
            return msgspec.json.decode(options["data"])
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise CommandError("--data is not valid JSON.") from error
