"""Clients that come back after a 1001, as the demo page's does, and keep book of what they missed."""

import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from tests.kit import Client
from tests.traffic import _Running


@dataclass
class Stay:
    """One connection's life: from its welcome to its close frame, by time.monotonic()."""

    worker: str
    began: float
    ended: float = float("inf")
    code: int = 0
    heard: set[str] = field(default_factory=set)


class Returning(_Running):
    """Talks in a room every ``every`` seconds; after 1001 connects again, at once and then a little later."""

    def __init__(self, url: str, name: str, every: float = 0.02) -> None:
        super().__init__()
        self.url = url
        self.name = name
        self.every = every
        self.stays: list[Stay] = []
        self.accepted: dict[str, tuple[float, float]] = {}  # text → when it was sent, when accepted
        self.refusals: list[int] = []  # statuses of handshakes that did not succeed; 0: no answer
        self.errors: list[str] = []
        self.talking = True
        self._sent: dict[str, float] = {}

    def _jobs(self) -> list:
        return [self._live()]

    @property
    def connected(self) -> bool:
        return bool(self.stays) and self.stays[-1].ended == float("inf")

    @property
    def worker(self) -> str:
        return self.stays[-1].worker

    async def _live(self) -> None:
        while True:
            try:
                client = await Client.connect(self.url)
            except InvalidStatus as refusal:
                self.refusals.append(refusal.response.status_code)
                await asyncio.sleep(random.uniform(0.05, 0.15))
                continue
            except (OSError, InvalidMessage, ConnectionClosed):
                self.refusals.append(0)
                await asyncio.sleep(random.uniform(0.05, 0.15))
                continue
            stay = Stay(client.worker, time.monotonic())
            self.stays.append(stay)
            talk = asyncio.create_task(self._talk(client))
            try:
                await self._listen(client, stay)
            finally:
                talk.cancel()
                await client.close()

    async def _talk(self, client: Client) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                if self.talking:
                    text = f"{self.name}-{len(self._sent)}"
                    self._sent[text] = time.monotonic()
                    await client.send_chat(text, id=text)
                await asyncio.sleep(self.every)

    async def _listen(self, client: Client, stay: Stay) -> None:
        try:
            while True:
                frame = json.loads(await client.socket.recv())
                if frame["type"] == "chat":
                    stay.heard.add(frame["data"]["content"])
                elif frame["type"] == "ack":
                    ref = frame["data"]["ref"]
                    self.accepted[ref] = (self._sent[ref], time.monotonic())
                elif frame["type"] == "error":
                    self.errors.append(frame["data"]["code"])
        except ConnectionClosed as end:
            stay.ended = time.monotonic()
            stay.code = end.rcvd.code if end.rcvd else 1006


def missed(members: list[Returning], margin: float = 0.5) -> list[tuple[str, str]]:
    """(who, what): accepted messages that a member did not hear, although it was connected from before they
    were sent until ``margin`` seconds after they were accepted."""
    found = []
    for speaker in members:
        for text, (sent, accepted) in speaker.accepted.items():
            for listener in members:
                for stay in listener.stays:
                    there = stay.began < sent and accepted + margin < stay.ended
                    if there and text not in stay.heard:
                        found.append((listener.name, text))
    return found
