"""The feeds of this process: one for each model that somebody follows here."""

from __future__ import annotations

from typing import Any

from chat.realtime import control
from chat.realtime.hub import Hub

from .feed import Feed
from .tracking import Tracked

_feeds: dict[Hub, dict[str, Feed]] = {}


def feed_of(hub: Hub, tracked: Tracked) -> Feed:
    """A model's feed in this worker; made where there is none."""
    feeds = _feeds.get(hub)
    if feeds is None:
        for old in [known for known in _feeds if known.loop.is_closed()]:
            del _feeds[old]
        feeds = _feeds[hub] = {}
        hub.sweepers.append(lambda now: _sweep(hub, now))
    feed = feeds.get(tracked.label)
    if feed is None:
        feed = feeds[tracked.label] = Feed(hub, tracked)
    return feed


def feeds_of(hub: Hub) -> list[Feed]:
    return list(_feeds.get(hub, {}).values())


def close_if_idle(feed: Feed) -> None:
    if feed.is_idle and _feeds.get(feed.hub, {}).get(feed.tracked.label) is feed:
        del _feeds[feed.hub][feed.tracked.label]
        feed.close()


def _sweep(hub: Hub, now: float) -> None:
    for feed in feeds_of(hub):
        feed.sweep(now)


@control.command("row_changed")
def _row_changed(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    feed = _feeds.get(hub, {}).get(args["model"])
    if feed is not None:
        feed.take(args)
    return {}


@control.command("feed_mark")
def _feed_mark(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    feed = _feeds.get(hub, {}).get(args["model"])
    if feed is not None and args["worker"] == hub.worker:
        feed.take_mark(args["number"])
    return {}


@control.command("followed")
def _followed(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    """What this worker follows, for a process that asks."""
    return {"labels": list(_feeds.get(hub, {}))}
