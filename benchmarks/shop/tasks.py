"""A process of the project without a server, as a task worker is: `python -m benchmarks.shop.tasks`.

Takes lines on standard input, answers with a line each, but not to `change`:

    fill                        makes the rows
    change <key> <title>        reads a row, changes its title and saves it
    saves <json>                measures saving (saving.py); answers with JSON
"""

from __future__ import annotations

import json
import sys

from benchmarks.shop.rows import CATEGORIES, CHANGED, ROWS_CHANGED


def fill() -> None:
    """The rows, whose keys an empty database numbers from 1, and PlainItem's alike."""
    from benchmarks.shop.models import Item, PlainItem

    for model in (Item, PlainItem):
        model._default_manager.bulk_create(
            model(
                title=f"Item {key:05d}, as it stands in the list of a shop",
                category=key % CATEGORIES,
                price=f"{key}.99",
                stock=key if key % 7 else None,
            )
            for key in range(1, CHANGED + ROWS_CHANGED)
        )


def change(key: int, title: str) -> None:
    """What a task does that was told a key."""
    from benchmarks.shop.models import Item

    item = Item.objects.get(pk=key)
    item.title = title
    item.save()


def main() -> None:
    """Serves until its input ends."""
    import django

    django.setup()
    from benchmarks.shop.saving import measure

    for line in sys.stdin:
        what, _, rest = line.rstrip("\n").partition(" ")
        if what == "change":
            key, _, title = rest.partition(" ")
            change(int(key), title)
            continue
        answer: object = "done"
        if what == "fill":
            fill()
        else:
            answer = measure(**json.loads(rest))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
