"""A task of a connection's that runs beside its inbox: a concurrent handler, a stream. The hub's clock ends
it when one step of it takes longer than a handler may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Work:
    """One running task. ``since``: the loop's time at which its present step began; None: it waits, which
    may take as long as it likes."""

    __slots__ = ("_hub", "_overdue", "since", "task")

    def __init__(
        self,
        hub: Any,
        run: Callable[[Work], Coroutine[Any, Any, None]],
        done: Callable[[Work], None],
    ) -> None:
        """Begin ``run(work)``; ``done(work)`` is called when it has ended."""
        self._hub = hub
        self._overdue = False
        self.since: float | None = hub.loop.time()
        hub.works[self] = None
        self.task: asyncio.Task[None] = hub.loop.create_task(run(self))

        def ended(task: asyncio.Task[None]) -> None:
            hub.works.pop(self, None)
            done(self)

        self.task.add_done_callback(ended)

    def step(self) -> None:
        """A new step begins: the deadline counts from now."""
        self.since = self._hub.loop.time()

    def check(self, now: float, limit: float) -> None:
        """End it if its step has taken more than ``limit`` seconds (the hub's clock calls this)."""
        if self.since is not None and now - self.since > limit:
            self.since = None
            self._overdue = True
            self.task.cancel()

    def was_overdue(self) -> bool:
        """Whether the cancellation that its task meets is its deadline's; takes it back if so."""
        was, self._overdue = self._overdue, False
        if was:
            self.task.uncancel()
        return was
