"""What changes mean for those who follow a model: what the database has to be asked, and who is told what.

As a rule a change says enough, the row as it was and as it is. The database is asked where that is not so:
where rows are not everybody's, for those who just got a snapshot, and where two changes of a row met
(`heard.py`). So the last word about a row is always the database's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from chat.realtime import log
from chat.realtime.errors import BUGS
from chat.realtime.hub import Hub

from .delivery import encoded, send
from .errors import OperationError, ResourceError, TooManySubscriptions, Unauthorized
from .followers import Followers
from .groups import Following, Group
from .heard import Change, Heard
from .looking import Facts, Needs, Owner
from .resource import READ
from .rights import ANONYMOUS, FRESH
from .tracking import Row, Tracked, digest

if TYPE_CHECKING:
    from .resource import ModelResource

logger = logging.getLogger("chat.resources")

KEPT = 5.0  # seconds for which it is kept that a user may read

TOO_MANY_ROWS = "This subscription follows more rows than it may. Narrow it with filters."

Reader = tuple["ModelResource", Any]  # and the user's key


class Judge:
    """Decides on a model's changes, a batch at a time: ``needs``, then ``tell`` with what was found."""

    def __init__(self, hub: Hub, tracked: Tracked, followers: Followers) -> None:
        self.hub = hub
        self.tracked = tracked
        self.followers = followers
        self.heard = Heard()
        self._may: dict[Reader, tuple[bool, float]] = {}

    def sweep(self, now: float) -> None:
        """Forget what is old."""
        self.heard.sweep(now)
        for asked in [asked for asked, (_, moment) in self._may.items() if now - moment > KEPT]:
            del self._may[asked]

    # --- what has to be asked -------------------------------------------------------------------------

    def needs(self, batch: list[Change]) -> Needs:
        """What these changes need to know of the database."""
        unclear = self.heard.unclear(batch, self.hub.loop.time())
        needs = Needs(self.tracked, rows=set(unclear), unclear=unclear)
        for change in batch:
            for group in self._concerned(change):
                if isinstance(group, Following):
                    self._need_of(needs, change, group)
                elif not group.open:
                    needs.readers += self._unsure(group)
        return needs

    def needs_of(self, batch: list[Change], needs: Needs, facts: Facts) -> Needs:
        """What else, now that rows were read: who may read them, where they concern others than the changes
        of them did."""
        more = Needs(self.tracked)
        for change in batch:
            if change.key in needs.unclear and change.only is None:
                for group in self._concerned(change, facts.rows.get(change.key)):
                    if not group.open and not isinstance(group, Following):
                        more.readers += self._unsure(group)
        return more

    def _need_of(self, needs: Needs, change: Change, group: Following) -> None:
        if not group.loaded:
            return
        needs.ready.add(group)
        if group.compares or change.only is not None:
            needs.rows.add(change.key)
        if group.looks:
            asked = group.resource, _key_of(group.user)
            owner = needs.owners.setdefault(asked, Owner(group.user))
            owner.keys.add(change.key)
            owner.extra |= group.extra

    def _concerned(self, change: Change, now: Row | None = None) -> list[Group]:
        """The groups that a change may concern. ``now``: the row as it was read."""
        if change.only is not None:
            return [change.only]
        if change.unknown:
            return list(self.followers)
        word = self.heard.word(change.key, self.hub.loop.time())
        told = None if word is None else word.row
        return self.followers.concerned((change.before, change.after, told, now))

    def _unsure(self, group: Group) -> list[tuple[ModelResource, Any]]:
        """Members of whom it was not asked lately whether they may read: the resource and the user."""
        now, found = self.hub.loop.time(), []
        for user, members in group.members.items():
            known = self._may.get((group.resource, user))
            if known is None or now - known[1] > FRESH:
                member = next(iter(members)).consumer.user
                # A visitor may have signed in meanwhile: what was subscribed to goes on as it began.
                found.append((group.resource, member if _key_of(member) == user else ANONYMOUS))
        return found

    # --- telling --------------------------------------------------------------------------------------

    def learn(self, facts: Facts) -> None:
        """Note who may read, and end the subscriptions of those who may not any more."""
        now = self.hub.loop.time()
        for asked, may in facts.may.items():
            self._may[asked] = (may, now)
        ended: dict[Reader, ResourceError] = {
            asked: Unauthorized() for asked, may in facts.may.items() if not may
        }
        for asked, error in facts.failed.items():
            ended[asked] = self._failure(error)
        if not ended:
            return
        for group in self.followers:
            for user in list(group.members):
                why = ended.get((group.resource, user))
                if why is not None:
                    _end(group.members[user], group, why)

    def tell(self, batch: list[Change], needs: Needs, facts: Facts) -> None:
        """Tell everybody whom these changes concern."""
        for change in batch:
            if change.only is not None:
                change.only.looking.discard(change.key)
                self._try(change.only, change, needs, facts)
                word = self.heard.word(change.key, self.hub.loop.time())
                if word is not None:
                    self._compare(change.only, change.key, word.row, word.told)
            else:
                self._tell(change, needs, facts)

    def _tell(self, change: Change, needs: Needs, facts: Facts) -> None:
        key, now = change.key, self.hub.loop.time()
        after, told, unclear = change.after, change.now, change.key in needs.unclear
        if unclear:
            after = facts.rows.get(key)
            told = digest(self.tracked.pack(after))
        groups = self._concerned(change, after)
        word = self.heard.word(key, now)
        repeated = word is not None and word.told == told and (unclear or change.was != change.now)
        for group in groups:
            if isinstance(group, Following):
                self._try(group, change, needs, facts)
                self._compare(group, key, after, told)
            elif group.size:
                try:
                    operation = group.decide(change, after, word, repeated)
                    if operation is not None:
                        send(self.hub, group, operation, key, after, source=change.origin)
                except BUGS as error:
                    self.end(group, self._failure(error))
        self.heard.note(change, told, self.tracked.slim(after), now)

    def _try(self, group: Following, change: Change, needs: Needs, facts: Facts) -> None:
        """Tell a group that remembers. Not one that was not asked for: it has noted that the row changed."""
        if not group.loaded or group not in needs.ready:
            return
        try:
            self._tell_following(group, change, facts)
        except BUGS as error:
            self.end(group, self._failure(error))

    def _tell_following(self, group: Following, change: Change, facts: Facts) -> None:
        row, data = facts.rows.get(change.key), None
        if group.looks:
            mine = facts.visible.get((group.resource, _key_of(group.user)), {})
            row, data = mine.get(change.key, (None, None))
        has = row is not None and group.test(row)
        told = self._digest(row, group) if has and row is not None and group.compares else None
        changed = change.only is not None or change.unknown or change.was != change.now
        operation = group.decide_held(change.key, has, told, changed)
        if operation is not None:
            shown = encoded(group, row, data) if has and row is not None else None
            send(self.hub, group, operation, change.key, row, shown, source=change.origin)
            if group.is_too_large:
                self.end(group, TooManySubscriptions(TOO_MANY_ROWS))

    def _compare(self, group: Following, key: Any, after: Row | None, told: bytes) -> None:
        """Note whether newcomers know the row as those whom they are to join are told it: one of them may be
        ahead of what was heard."""
        if group.looks or not group.compares or not group.loaded:
            return
        if group.held.get(key) == (told if after is not None and group.test(after) else None):
            group.apart.discard(key)
        else:
            group.apart.add(key)

    def _digest(self, row: Row, group: Group) -> bytes:
        if group.extra:
            row = {name: row[name] for name in self.tracked.attnames}
        return digest(self.tracked.pack(row))

    # --- ends -----------------------------------------------------------------------------------------

    def end(self, group: Group, why: ResourceError) -> None:
        """End a group's subscriptions, and say why."""
        _end(group.connections(), group, why)

    def _failure(self, error: BaseException) -> ResourceError:
        """What the client is told of an app's code that failed."""
        number = log.failure(logger, "judging_failed", error, model=self.tracked.label)
        return OperationError.of(READ, f"Something went wrong on the server (error {number}).")


def _end(connections: Iterable[Any], group: Group, why: ResourceError) -> None:
    for connection in list(connections):
        connection.consumer.end_subscription(group.id, why)


def _key_of(user: Any) -> Any:
    return getattr(user, "pk", None)
