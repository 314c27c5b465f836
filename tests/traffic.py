"""Clients that go on talking while something breaks, and remember what came of every message."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed

from tests.kit import Client

ACCEPTED = "ack"


class _Running:
    """Tasks that run inside ``async with``; a failed one fails the test at the end."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def _jobs(self) -> list[Any]:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(job) for job in self._jobs()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End the tasks; raises what one of them failed of."""
        for task in self._tasks:
            task.cancel()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Talker(_Running):
    """Says ``<name>-<number>`` every ``every`` seconds, and hears all that comes to its client.

    Times are those of time.monotonic(). Let nobody else read from the client meanwhile.
    """

    def __init__(self, client: Client, name: str, every: float = 0.02) -> None:
        super().__init__()
        self.client = client
        self.name = name
        self.every = every
        self.said: dict[str, float] = {}  # when each was sent
        self.answered: dict[str, tuple[str, float]] = {}  # what came of it ("ack" or an error's code), when
        self.heard: dict[str, float] = {}  # contents, whoever said them, and when they came
        self.twice: list[str] = []
        self.talking = True
        self._number = 0

    def _jobs(self) -> list[Any]:
        return [self._talk(), self._listen()]

    async def _talk(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                if self.talking:
                    self._number += 1
                    text = f"{self.name}-{self._number}"
                    self.said[text] = time.monotonic()
                    await self.client.send_chat(text, id=text)
                await asyncio.sleep(self.every)

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.client.socket:
                self._take(json.loads(text))

    def _take(self, frame: dict[str, Any]) -> None:
        now, data = time.monotonic(), frame["data"]
        if frame["type"] == "chat":
            if data["content"] in self.heard:
                self.twice.append(data["content"])
            self.heard[data["content"]] = now
        elif frame["type"] == "ack":
            self.answered[data["ref"]] = (ACCEPTED, now)
        elif frame["type"] == "error":
            self.answered[data["ref"]] = (data["code"], now)

    @property
    def unanswered(self) -> set[str]:
        return self.said.keys() - self.answered.keys()

    def with_answer(self, code: str) -> set[str]:
        return {text for text, (answer, _) in self.answered.items() if answer == code}

    @property
    def slowest_answer(self) -> float:
        """Seconds."""
        return max((moment - self.said[text] for text, (_, moment) in self.answered.items()), default=0.0)


class Pulse(_Running):
    """Asks something again and again and keeps the times that the answers took, in seconds."""

    def __init__(self, ask: Callable[[], Awaitable[Any]], every: float = 0.05) -> None:
        super().__init__()
        self.ask = ask
        self.every = every
        self.times: list[float] = []
        self.answers: list[Any] = []
        self._ending = False

    @classmethod
    def of(cls, client: Client, every: float = 0.05) -> "Pulse":
        """The round trips of a client that nobody else reads from."""
        return cls(client.round_trip, every)

    def _jobs(self) -> list[Any]:
        self._ending = False
        return [self._beat()]

    async def stop(self) -> None:
        """End after the answer that is under way: the one that takes longest counts most."""
        self._ending = True
        for task in self._tasks:
            await asyncio.wait({task}, timeout=20)
        await super().stop()

    async def _beat(self) -> None:
        while not self._ending:
            began = time.monotonic()
            answer = await self.ask()
            self.times.append(time.monotonic() - began)
            if answer is not None:
                self.answers.append(answer)
            await asyncio.sleep(self.every)

    @property
    def slowest(self) -> float:
        assert self.times, "not one answer came"
        return max(self.times)
