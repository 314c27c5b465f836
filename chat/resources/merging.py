"""How those who had a snapshot join the others who follow the same.

They must be told nothing twice, and miss nothing that was told to the others alone. So they join when
all that was heard is told, and when both know the same: newcomers look at rows anew, and may have seen what
the others are yet to hear.
"""

from __future__ import annotations

from .feed import Feed
from .groups import Following, Group
from .members import drop_if_empty

TRY_EVERY = 0.5  # seconds
MOST_TRIES = 20  # then they join; they may be told of a change twice


def merge(feed: Feed, newcomers: Following, tries: int = 0) -> None:
    """Have newcomers join the others, as soon as that can be."""
    feed.after_those(lambda: _merge(feed, newcomers, tries))


def _merge(feed: Feed, newcomers: Following, tries: int) -> None:
    main = newcomers.main
    if main is None or newcomers not in feed.followers.following:
        return  # all of them have gone
    if isinstance(main, Following):
        ready = _agree(feed, newcomers, main, last=tries >= MOST_TRIES)
    else:
        ready = not newcomers.looking and not newcomers.apart
    if ready or tries >= MOST_TRIES:
        _join(newcomers, main)
        drop_if_empty(feed, newcomers)
    else:
        feed.hub.loop.call_later(TRY_EVERY, merge, feed, newcomers, tries + 1)


def _agree(feed: Feed, newcomers: Following, main: Following, last: bool) -> bool:
    """Whether two groups that remember hold the same rows. If not, both look again at those in which they
    differ: rights may have changed without a change of the row."""
    if not main.loaded:
        if main.loading is not None and not last:
            return False
        main.held, main.loaded = dict.fromkeys(newcomers.held), True
        return True
    if last:
        main.held = dict.fromkeys(newcomers.held) | main.held  # a delete too many does no harm
        return True
    if newcomers.looking or main.looking:
        return False
    different = newcomers.held.keys() ^ main.held.keys()
    for key in different:
        feed.look_again(newcomers, key)
        feed.look_again(main, key)
    return not different


def _join(newcomers: Following, main: Group) -> None:
    for user, members in list(newcomers.members.items()):
        for connection in list(members):
            subscription = connection.consumer.subscriptions.get(newcomers.id)
            newcomers.discard(connection, user)
            if subscription is not None:
                subscription.group = main
                main.add(connection, user)
