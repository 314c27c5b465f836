"""What a worker holds for those who follow something: asked by tests as ``resources_held``."""

import asyncio
from typing import Any

from chat.realtime import control
from chat.realtime.hub import Hub
from chat.resources.delivery import holding
from chat.resources.feeds import feeds_of


@control.command("resources_held")
def held(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    groups = [group for feed in feeds_of(hub) for group in feed.followers]
    return {
        "feeds": sorted(feed.tracked.label for feed in feeds_of(hub)),
        "waiting": sum(one.waiting for one in [*groups, *feeds_of(hub)]),
        "groups": len(groups),
        "holding": len(holding),
        "listening": sorted(hub.listening),
        "joined": len(hub.groups),
        "works": len(hub.works),
        "tasks": sum("RedisLink" not in repr(task.get_coro()) for task in asyncio.all_tasks()),
    }
