"""What the operator's commands have in common: they reach the workers, or say what to do."""

from __future__ import annotations

import json
import logging
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from chat.operator import Operator, Unreachable, reach
from chat.realtime.errors import LayerUnavailable
from chat.realtime.where import InvalidCondition, check
from chat.validators import validate_room_name

T = TypeVar("T")

NO_WORKER = (
    "No worker is running: Redis answers, but nobody else does. Start one (manage.py serve) with the same "
    "REDIS_URL, database number included."
)
NO_LAYER = (
    "Redis can't be reached. Start it, or set REDIS_URL to where it is: the workers' own, "
    "database number included."
)


class OperatorCommand(BaseCommand):
    """A command that asks all workers. Exit status 1, with a word on stderr, where none can be reached."""

    requires_system_checks = []  # they would say the same of Redis again, and this is for a bad day

    def ask(self, question: Callable[[Operator], T]) -> T:
        """The workers' answer. Raises CommandError."""
        # What is said below needs no warning beside it; that Redis refuses the login is an error, and shows.
        logging.getLogger("chat.realtime.redis").setLevel(logging.ERROR)
        try:
            return question(reach())
        except LayerUnavailable as error:
            raise CommandError(NO_LAYER) from error
        except Unreachable as error:
            raise CommandError(str(error)) from error

    def require_worker(self) -> None:
        """Raises CommandError when no worker is running."""
        if not self.ask(lambda operator: operator.stats())["workers"]:
            raise CommandError(NO_WORKER)

    def write_json(self, answer: Any) -> None:
        """One line of JSON; what is not ASCII is escaped, so that it can't play with the terminal."""
        self.stdout.write(json.dumps(answer))


def room_name(text: str) -> str:
    """A room's name, as the type of an argument."""
    try:
        validate_room_name(text)
    except ValidationError as error:
        raise ArgumentTypeError(error.messages[0]) from error
    return text


def condition(text: str) -> dict[str, Any]:
    """A condition on connections, in JSON, as the type of an argument."""
    try:
        found: dict[str, Any] = json.loads(text)
        check(found)
    except InvalidCondition as error:
        raise ArgumentTypeError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise ArgumentTypeError("must be a JSON object") from error
    return found


def positive(text: str) -> int:
    """A whole number from 1 on, as the type of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("must be a whole number from 1 on")
    return int(text)
