"""Publishing, with or without asking those who took it for an answer.

PUBLISH tells how many processes took a message, so who asks knows how many answers to wait for. They come to
the asker's own address: its hub's, or, where no server runs (a command, a task worker), a mailbox's.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .hub import CONTROL, Hub
from .layers import WORKER, LoopLayer, MemoryLayer, reached
from .redis_link import settle

Everywhere = Callable[[dict[str, Any]], dict[str, Any]]

_mailboxes: dict[str, _Answers] = {}
_everywhere: dict[str, Everywhere] = {}


async def publish(layer: LoopLayer | MemoryLayer, group: str, message: dict[str, Any]) -> int:
    """Publish a layer message and wait for the layer's word: how many workers took it.

    Raises LayerUnavailable.
    """
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    layer.publish(group, message, lambda result: settle(answer, result))
    return await reached(answer)


def everywhere(name: str) -> Callable[[Everywhere], Everywhere]:
    """Register what a process without a server answers, ``args → plain dict``, where it listens."""

    def register(function: Everywhere) -> Everywhere:
        _everywhere[name] = function
        return function

    return register


async def listen(layer: LoopLayer | MemoryLayer, group: str) -> None:
    """Have this process, which runs no server, hear a group's questions. Raises LayerUnavailable."""
    await _address(layer)  # its mailbox takes what comes
    await layer.subscribe(group)


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back: one dict a worker, and how many workers were ``asked``."""

    answers: list[dict[str, Any]]
    asked: int

    @property
    def missing(self) -> int:
        """Workers that took the question and did not answer in time."""
        return self.asked - len(self.answers)


async def publish_and_gather(
    layer: LoopLayer | MemoryLayer, group: str, message: dict[str, Any], timeout: float
) -> Answers:
    """Publish a message that asks for an answer; what came within ``timeout`` seconds.

    Raises LayerUnavailable.
    """
    address = await _address(layer)
    ref = secrets.token_hex(8)
    box = _mailboxes[ref] = _Answers()
    try:
        asked = await publish(layer, group, {**message, "reply_to": address, "ref": ref})
        try:
            async with asyncio.timeout(timeout):
                while len(box.found) < asked:
                    box.arrived.clear()
                    await box.arrived.wait()
        except TimeoutError:
            pass  # who asked sees how many are missing
        return Answers(box.found, asked)
    finally:
        del _mailboxes[ref]


def reply(hub: Hub | _Mailbox, message: dict[str, Any], answer: dict[str, Any]) -> None:
    """Answer a message that asks for it (``reply_to``, ``ref``)."""
    hub.layer.publish(message["reply_to"], {"type": CONTROL, "ref": message["ref"], "reply": answer})


def collect(message: dict[str, Any]) -> None:
    """An answer to a question of this process; late ones find nobody who waits."""
    box = _mailboxes.get(message["ref"])
    if box is not None:
        box.found.append(message["reply"])
        box.arrived.set()


class _Answers:
    """What has come so far to one question."""

    __slots__ = ("arrived", "found")

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()


class _Mailbox:
    """Stands in for a hub where no server runs. It takes answers, and questions to every process."""

    def __init__(self, layer: LoopLayer) -> None:
        self.layer = layer
        self.address = "realtime.asker." + secrets.token_hex(8)
        self.subscribed = layer.subscribe(self.address)
        self.connections: dict[str, Any] = {}

    def deliver(self, batch: list[tuple[str, dict[str, Any]]]) -> None:
        for _, message in batch:
            if message["type"] != CONTROL:
                continue
            if message.get("ask") in _everywhere:
                answer = _everywhere[message["ask"]](message["args"])
                if message["reply_to"]:
                    reply(self, message, answer)
            elif "reply" in message:
                collect(message)


async def _address(layer: LoopLayer | MemoryLayer) -> str:
    if isinstance(layer.hub, Hub):
        return WORKER + layer.hub.worker
    if isinstance(layer, MemoryLayer):
        return ""  # no server runs here: publishing says so
    if layer.hub is None:
        layer.hub = _Mailbox(layer)
    mailbox: _Mailbox = layer.hub
    if mailbox.subscribed.done() and mailbox.subscribed.exception():
        mailbox.subscribed = layer.subscribe(mailbox.address)
    await asyncio.shield(mailbox.subscribed)
    return mailbox.address
