"""One worker's view of one model's changes: what comes from the layer goes to those whom it concerns.

As a rule a change is told at once: no thread hop, no task. Where the database has to be asked (`judging.py`),
changes wait, and it is asked once for up to AT_ONCE of them.

A worker that may have missed changes (it was cut off from Redis, the database failed, it can't keep up)
closes the sockets of those who follow the model, with 1001: they come back and get a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from django.db import Error as DatabaseError

from chat.realtime import config, log
from chat.realtime.database import in_database
from chat.realtime.errors import BUGS, LayerUnavailable
from chat.realtime.hub import CONTROL, Hub

from . import interest
from .followers import Followers
from .groups import Following
from .heard import Change
from .judging import Judge
from .looking import Facts, Needs, look
from .tracking import Tracked, digest

logger = logging.getLogger("chat.resources")

AT_ONCE = 100  # changes for which the database is asked together
MOST_WAITING = 10_000  # changes; a worker with more can't keep up
ATTEMPTS = 3  # at the database
PAUSE = 0.5  # seconds between them
PATIENCE = 10.0  # seconds for all of them: a database that is silent for longer must not be waited for

WORDS_MISSED = "changes may have been missed: subscribe again"


class Feed:
    """A model's changes in one worker."""

    def __init__(self, hub: Hub, tracked: Tracked) -> None:
        self.hub = hub
        self.tracked = tracked
        self.followers = Followers()
        self.opened: asyncio.Task[None] | None = None
        self.waiting = 0  # who are about to follow
        self.losses = 0  # how often changes may have been missed
        self._judge = Judge(hub, tracked, self.followers)
        self._connects = 0
        self._queue: deque[Change | Callable[[], None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._numbers = count(1)
        self._mark: asyncio.Future[None] | None = None  # not sent yet
        self._marks: dict[int, asyncio.Future[None]] = {}  # on their way

    # --- life -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """From now on every change reaches this worker. Raises LayerUnavailable."""
        opening = self.opened
        if opening is None:
            opening = self.opened = self.hub.loop.create_task(self._open())
            opening.add_done_callback(retrieved)
        try:
            await asyncio.shield(opening)
        except BUGS:
            if self.opened is opening:
                self.opened = None
            raise

    async def _open(self) -> None:
        await self.hub.listen(self.tracked.group)
        connects = self.hub.layer.reconnects
        await interest.announce(self.hub, self.tracked.label)
        self._connects = connects

    async def catch_up(self) -> None:
        """Wait until what was published before now is told: who comes then hears nothing of what was before.

        It takes a mark through the layer, one for all who wait in this turn of the loop. Raises
        LayerUnavailable.
        """
        if self._mark is None:
            self._mark = self.hub.loop.create_future()
            self._mark.add_done_callback(retrieved)
            self.hub.loop.call_soon(self._send_mark, self._mark)
        mark = self._mark
        try:
            async with asyncio.timeout(config.current().redis_timeout):
                await asyncio.shield(mark)
        except TimeoutError:
            raise LayerUnavailable() from None

    def _send_mark(self, mark: asyncio.Future[None]) -> None:
        self._mark = None
        number = next(self._numbers)
        self._marks[number] = mark
        args = {"model": self.tracked.label, "worker": self.hub.worker, "number": number}
        message = {"type": CONTROL, "ask": "feed_mark", "args": args, "reply_to": "", "ref": ""}

        def published(result: Any) -> None:
            if isinstance(result, BaseException):
                self._settle(number, LayerUnavailable())

        self.hub.layer.publish(self.tracked.group, message, published)

    def take_mark(self, number: int) -> None:
        """A mark came back; with it those before it that were lost on the way."""
        for known in [known for known in self._marks if known <= number]:
            self.after_those(partial(self._settle, known))

    def _settle(self, number: int, error: LayerUnavailable | None = None) -> None:
        mark = self._marks.pop(number, None)
        if mark is not None and not mark.done():
            if error is None:
                mark.set_result(None)
            else:
                mark.set_exception(error)

    @property
    def is_idle(self) -> bool:
        return not self.followers and not self.waiting

    def close(self) -> None:
        """Nobody follows the model any more."""
        self.hub.unlisten(self.tracked.group)
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()

    def sweep(self, now: float) -> None:
        """Once a second: forget what is old, and notice that Redis was away."""
        self._judge.sweep(now)
        if self.opened is not None and self.opened.done() and self.hub.layer.reconnects != self._connects:
            # Who published meanwhile has found that nobody listens: all have to be told anew.
            self.opened = None
            self.lose("redis")

    # --- what changes ---------------------------------------------------------------------------------

    def take(self, args: dict[str, Any]) -> None:
        """A change came from the layer."""
        if "key" not in args:
            self.lose("bulk")
            return
        try:
            self.put(self._change(args))
        except BUGS as error:  # nobody else would know that it was not told
            self._failed(error)

    def _change(self, args: dict[str, Any]) -> Change:
        tracked = self.tracked
        unknown = not args["before"]
        return Change(
            tracked.unpack_key(args["key"]),
            None if unknown else tracked.unpack_row(args["before"]),
            tracked.unpack_row(args["after"]),
            args["was"],
            digest(args["after"]),
            unknown,
            args["origin"],
        )

    def look_again(self, group: Following, key: Any) -> None:
        """Have a group look at a row that may have changed."""
        group.looking.add(key)
        self.put(Change(key, only=group))

    def put(self, change: Change) -> None:
        if change.only is None:
            self.followers.touch(change.key)
        if self._task is None:
            needs = self._judge.needs([change])
            if not needs:
                self._judge.tell([change], needs, Facts())
                return
        if len(self._queue) >= MOST_WAITING:
            self.lose("overflow")
            return
        self._queue.append(change)
        if self._task is None:
            self._task = self.hub.loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._queue:
                first = self._queue.popleft()
                if not isinstance(first, Change):
                    first()
                    continue
                batch = [first]
                while self._queue and len(batch) < AT_ONCE and isinstance(self._queue[0], Change):
                    batch.append(self._queue.popleft())  # type: ignore[arg-type]  # as just looked at
                await self._tell(batch)
        except (DatabaseError, TimeoutError):
            self.lose("database")
        except BUGS as error:
            self._failed(error)
        finally:
            self._task = None

    async def _tell(self, batch: list[Change]) -> None:
        needs, facts = self._judge.needs(batch), Facts()
        if needs:
            facts = await self._ask(needs)
            more = self._judge.needs_of(batch, needs, facts)
            if more:
                await self._ask(more)
        self._judge.tell(batch, needs, facts)

    async def _ask(self, needs: Needs) -> Facts:
        """One visit to the database. Raises django.db.Error, TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    facts = await in_database(look)(needs)
                    break
                except DatabaseError:
                    if attempt == ATTEMPTS:
                        raise
                    await asyncio.sleep(PAUSE)
        self._judge.learn(facts)
        return facts

    def after_those(self, call: Callable[[], None]) -> None:
        """Call this when all that was heard so far is told, and nothing that came later."""
        if self._task is None:
            call()
        else:
            self._queue.append(call)

    # --- what was missed ------------------------------------------------------------------------------

    def _failed(self, error: BaseException) -> None:
        log.failure(logger, "feed_failed", error, model=self.tracked.label)
        self.lose("failure")

    def lose(self, reason: str) -> None:
        """Changes were missed, or may have been: nobody goes on as if not. Who is just coming reads anew."""
        self.losses += 1
        self._queue.clear()
        for number in list(self._marks):
            self._settle(number, LayerUnavailable())
        lost = {connection for group in self.followers for connection in group.connections()}
        if lost:
            log.event(
                logger,
                logging.WARNING,
                "changes_missed",
                model=self.tracked.label,
                reason=reason,
                closed=len(lost),
            )
        for group in list(self.followers.following):
            group.reset()
        for connection in lost:
            connection.consumer.lose(WORDS_MISSED)


def retrieved(task: asyncio.Future[Any]) -> None:
    """Everybody may have stopped waiting for a task: then its error is nobody's."""
    if not task.cancelled():
        task.exception()
