"""What saving a row costs: of a model that is registered and that nobody follows, and of one like it.

Measured inside one process, in blocks that take turns; CPU of the thread that saves, or of the whole process.
"""

from __future__ import annotations

import time
from typing import Any

from django.db import models, transaction

from benchmarks.shop.models import Item, PlainItem

KEYS = 100
"""Rows that are saved in turn."""


def measure(rounds: int, saves: int, whole: bool = True) -> dict[str, list[float]]:
    """Microseconds of CPU a save in each of `rounds` blocks of `saves`, by ``"<kind> <model>"``.

    Kinds: ``single``, in autocommit; ``atomic``, one save in each transaction; ``many``, all of a block's
    saves in one transaction; ``create``, new rows in one transaction. `whole`: the other threads of the
    process are in it.
    """
    clock = time.process_time if whole else time.thread_time
    kinds = {"single": _single, "atomic": _atomic, "many": _many, "create": _create}
    found: dict[str, list[float]] = {}
    instances: dict[type[models.Model], list[Any]] = {
        model: list(model._default_manager.filter(pk__lte=KEYS)) for model in (Item, PlainItem)
    }
    for number in range(-1, rounds):
        for kind, work in kinds.items():
            pair = (Item, PlainItem) if number % 2 else (PlainItem, Item)
            for model in pair:
                before = clock()
                work(model, instances[model], saves)
                if number >= 0:  # the first is a warm-up
                    name = f"{kind} {model._meta.model_name}"
                    found.setdefault(name, []).append((clock() - before) / saves * 1e6)
    return found


def _single(model: type[models.Model], instances: list[Any], saves: int) -> None:
    for number in range(saves):
        instances[number % KEYS].save()


def _atomic(model: type[models.Model], instances: list[Any], saves: int) -> None:
    for number in range(saves):
        with transaction.atomic():
            instances[number % KEYS].save()


def _many(model: type[models.Model], instances: list[Any], saves: int) -> None:
    with transaction.atomic():
        for number in range(saves):
            instances[number % KEYS].save()


def _create(model: type[models.Model], instances: list[Any], saves: int) -> None:
    with transaction.atomic():
        for number in range(saves):
            model(title="a new one", category=number).save()
