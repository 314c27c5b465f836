"""Credentials end while a socket is open: then it is closed, with 4501.

Three things say so. A token's own expiry: the hub's clock looks once a second. A word from another process
(``verify_user``, ``end_sign_in``), which comes over the layer right after the change: within a second. And a
look at everybody once a minute (``REALTIME["VERIFY_EVERY"]``, in seconds), for what nobody tells:
``QuerySet.update()``, a deleted session row, a word that was lost while Redis was away (after which the look
begins at once).

Looks go to the database in batches of up to 500 connections, one at a time; the look at everybody takes one
batch a second.
"""

from __future__ import annotations

import logging
import math
import time
from asyncio import Task
from collections import deque
from typing import Any

from django.conf import settings

from . import control, log
from .auth import Identity
from .codes import CloseCode
from .connection import Connection, State
from .database import in_database
from .errors import BUGS
from .hub import Hub
from .runtime import on_hub

BATCH = 500  # connections; 3 queries
REMEMBER = 60.0  # seconds for which a word is kept for handshakes that are under way
LONGEST_PAUSE = 30.0  # seconds between two attempts while the database fails

logger = logging.getLogger("chat.realtime")

_verifiers: dict[Hub, Verifier] = {}


class Verifier:
    """One hub's looks at its signed-in connections."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.words: dict[str, float] = {}  # user id or sign-in → when (loop time) its end was told
        self._named: set[str] = set()  # users whose connections are to be looked at
        self._urgent: dict[Connection, None] = {}
        self._round: deque[Connection] = deque()
        self._pace = BATCH  # connections of the round a second
        self._every: float = (getattr(settings, "REALTIME", None) or {}).get("VERIFY_EVERY", 60)
        self._next_round = hub.loop.time() + self._every
        self._reconnects = 0
        self._task: Task[None] | None = None
        self._pause = 0.0
        self._not_before = 0.0
        hub.sweepers.append(self.sweep)

    # --- what says that credentials may have ended --------------------------------------------------

    def user_changed(self, user: str) -> None:
        """Look whether the credentials behind a user's sockets still count."""
        self._remember("user:" + user)
        self._named.add(user)
        self._start()

    def sign_in_ended(self, key: str) -> int:
        """Part with those who came with this sign-in (``Identity.key``)."""
        self._remember(key)
        found = [c for c in self.hub.connections.values() if _identity(c) is not None and _key(c) == key]
        for connection in found:
            connection.close(CloseCode.CREDENTIALS_ENDED)
        return len(found)

    def _remember(self, word: str) -> None:
        self.words.pop(word, None)  # the newest is the last
        self.words[word] = self.hub.loop.time()

    def admitted(self, connection: Connection, since: float) -> None:
        """A handshake that began ``since`` is about to be accepted: a word may have come meanwhile."""
        identity = _identity(connection)
        if identity is None or not self.words:
            return
        if self.words.get(identity.key or "", -1.0) >= since:
            connection.close(CloseCode.CREDENTIALS_ENDED)
        elif connection.user and self.words.get(f"user:{connection.user['id']}", -1.0) >= since:
            self._urgent[connection] = None
            self._start()

    def sweep(self, now: float) -> None:
        """The hub's tick, once a second."""
        moment = time.time()
        for connection in [
            c for c in self.hub.connections.values() if c.expires_at is not None and c.expires_at <= moment
        ]:
            connection.close(CloseCode.CREDENTIALS_ENDED, "token expired")
        while self.words and now - next(iter(self.words.values())) > REMEMBER:
            del self.words[next(iter(self.words))]
        self._look_at_everybody(now)
        if self._named or self._urgent or self._round:
            self._start()

    def _look_at_everybody(self, now: float) -> None:
        reconnects = getattr(self.hub.layer, "reconnects", 0)
        if reconnects != self._reconnects and self.hub.layer.up:
            self._reconnects, self._pace = reconnects, BATCH
        elif now >= self._next_round and not self._round:
            self._pace = 0
        else:
            return
        self._next_round = now + self._every
        self._round = deque(c for c in self.hub.connections.values() if _identity(c) is not None)
        self._pace = self._pace or min(BATCH, math.ceil(len(self._round) / self._every))

    # --- the looks --------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._task is None and self.hub.loop.time() >= self._not_before:
            self._task = self.hub.loop.create_task(self._work())

    async def _work(self) -> None:
        """A batch of the round, and whatever is urgent, batch after batch."""
        try:
            for connection in [self._round.popleft() for _ in range(min(self._pace, len(self._round)))]:
                self._urgent[connection] = None
            while self._named or self._urgent:
                self._find_named()
                batch = [connection for connection, _ in zip(self._urgent, range(BATCH), strict=False)]
                for connection in batch:
                    del self._urgent[connection]
                if not await self._look(batch):
                    return
        finally:
            self._task = None

    def _find_named(self) -> None:
        if self._named:
            named, self._named = self._named, set()
            for connection in self.hub.connections.values():
                if connection.user is not None and str(connection.user["id"]) in named:
                    self._urgent[connection] = None

    async def _look(self, batch: list[Connection]) -> bool:
        """Close those of a batch whose credentials have ended; False when some could not be looked at."""
        kinds: dict[Any, list[tuple[Connection, Identity]]] = {}
        for connection in batch:
            identity = _identity(connection)
            if identity is not None and connection.state < State.CLOSING:
                kinds.setdefault(identity.authenticator, []).append((connection, identity))
        failed: BaseException | None = None
        for authenticator, found in kinds.items():
            try:
                valid = await _ask(authenticator, [identity for _, identity in found])
            except BUGS as error:  # whatever ails a database, or somebody's authenticator
                failed = error
                self._urgent.update(dict.fromkeys(connection for connection, _ in found))
                continue
            for (connection, identity), counts in zip(found, valid, strict=True):
                if not counts and _identity(connection) is identity:
                    connection.close(CloseCode.CREDENTIALS_ENDED)
        self._tell(failed)
        return failed is None

    def _tell(self, failed: BaseException | None) -> None:
        if failed is None:
            if self._pause:
                log.event(logger, logging.WARNING, "credentials_verified_again")
            self._pause = 0.0
            return
        if not self._pause:
            log.event(logger, logging.ERROR, "credentials_unverified", reason=type(failed).__name__)
        self._pause = min(self._pause * 2 or 0.5, LONGEST_PAUSE)
        self._not_before = self.hub.loop.time() + self._pause


@in_database
def _ask(authenticator: Any, identities: list[Identity]) -> list[bool]:
    answer: list[bool] = authenticator.still_valid(identities)
    return answer


def _identity(connection: Connection) -> Identity | None:
    """What a connection signed in with; None where there is nothing to look at."""
    identity: Identity | None = getattr(connection.consumer, "identity", None)
    return None if identity is None or identity.authenticator is None else identity


def _key(connection: Connection) -> str | None:
    identity = _identity(connection)
    return None if identity is None else identity.key


def verifier_of(hub: Hub) -> Verifier:
    return _verifiers[hub]


def _attach(hub: Hub) -> None:
    for old in [known for known in _verifiers if known.loop.is_closed()]:
        del _verifiers[old]
    _verifiers[hub] = Verifier(hub)


on_hub.append(_attach)


@control.command("verify_user")
def _verify_user(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    _verifiers[hub].user_changed(args["user"])
    return {}


@control.command("end_sign_in")
def _end_sign_in(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    return {"closed": _verifiers[hub].sign_in_ended(args["key"])}
