"""Waiting for a condition with a limit: the tests' only way to wait."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

LIMIT = 5.0  # seconds until a test gives up on what should take milliseconds
POLL = 0.02  # seconds between two looks


def wait_until(condition: Callable[[], Any], what: str = "the condition", limit: float = LIMIT) -> Any:
    """The first true value of ``condition()``. Raises AssertionError after ``limit`` seconds."""
    end = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {limit:g} s; last seen: {found!r}")
        time.sleep(POLL)


async def eventually(condition: Callable[[], Any], what: str = "the condition", limit: float = LIMIT) -> Any:
    """``wait_until`` for async tests; ``condition`` may be a coroutine function."""
    end = time.monotonic() + limit
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {limit:g} s; last seen: {found!r}")
        await asyncio.sleep(POLL)
