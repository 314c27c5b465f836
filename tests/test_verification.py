"""How credentials are looked at again: in which batches, at what pace, and what a failure changes."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import pytest

from chat.realtime import Authenticator, Identity, verification
from chat.realtime.connection import State
from chat.realtime.verification import BATCH, LONGEST_PAUSE, REMEMBER, Verifier
from tests.kit import eventually


class Clock:
    """A loop whose time is the test's."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def create_task(self, coroutine):
        return asyncio.get_running_loop().create_task(coroutine)


class Asked(Authenticator):
    """Notes how many it was asked about; users whose name is in ``ended`` count no longer."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.ended: set[str] = set()
        self.error: Exception | None = None

    def still_valid(self, identities: list[Identity]) -> list[bool]:
        self.batches.append(len(identities))
        if self.error is not None:
            raise self.error
        return [identity.user not in self.ended for identity in identities]


class Socket:
    """A connection, as far as the verifier knows one."""

    def __init__(self, user: str, authenticator: Authenticator, expires_at: float | None = None) -> None:
        identity = Identity(user, authenticator, {"sid": user}, expires_at)
        self.user = {"id": user}
        self.consumer = SimpleNamespace(identity=identity)
        self.state = State.OPEN
        self.expires_at = expires_at
        self.code: int | None = None

    def close(self, code: int, reason: str | None = None) -> None:
        self.state, self.code = State.CLOSING, code


class Bench:
    """A hub with sockets, and its verifier."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.layer = SimpleNamespace(reconnects=0, up=True)
        self.hub = SimpleNamespace(loop=self.clock, layer=self.layer, connections={}, sweepers=[])
        self.verifier = Verifier(self.hub)  # type: ignore[arg-type]

    def add(self, count: int, authenticator: Authenticator, name: str = "user") -> list[Socket]:
        sockets = [Socket(f"{name}-{number}", authenticator) for number in range(count)]
        for socket in sockets:
            self.hub.connections[f"{name}-{id(socket)}"] = socket
        return sockets

    async def tick(self, seconds: float = 1.0) -> None:
        """Let time pass, and what it begins end."""
        self.clock.now += seconds
        self.verifier.sweep(self.clock.now)
        await self.idle()

    async def idle(self) -> None:
        await eventually(lambda: self.verifier._task is None, "the end of the look")


@pytest.fixture
def bench() -> Callable[[], Bench]:
    return Bench


async def test_after_a_reconnect_everybody_is_looked_at_one_batch_a_second(bench):
    """1,200 connections: 500, 500 and 200 in three seconds; those whose credentials ended are closed."""
    bench, asked = bench(), Asked()
    sockets = bench.add(1200, asked)
    asked.ended = {"user-0", "user-700", "user-1199"}
    bench.layer.reconnects = 1
    for _ in range(4):
        await bench.tick()
    assert asked.batches == [BATCH, BATCH, 200]
    assert {socket.user["id"] for socket in sockets if socket.code == 4501} == asked.ended


async def test_a_layer_that_is_still_away_is_waited_for(bench):
    """The look begins when the layer is up: words that come from then on are heard."""
    bench, asked = bench(), Asked()
    bench.add(1, asked)
    bench.layer.reconnects, bench.layer.up = 1, False
    await bench.tick()
    assert asked.batches == []
    bench.layer.up = True
    await bench.tick()
    assert asked.batches == [1]


async def test_once_a_minute_everybody_is_looked_at_spread_over_the_minute(bench):
    """600 connections: none in the first minute, then ten a second, each once."""
    bench, asked = bench(), Asked()
    bench.add(600, asked)
    for _ in range(59):
        await bench.tick()
    assert asked.batches == []
    for _ in range(60):
        await bench.tick()
    assert asked.batches == [10] * 60


async def test_a_word_is_followed_at_once_in_batches(bench):
    """1,001 sockets of one user: three questions, without waiting for a tick; nobody else is looked at."""
    bench, asked, others = bench(), Asked(), Asked()
    sockets = bench.add(1001, asked)
    for socket in sockets:
        socket.user = {"id": 7}
    bench.add(100, others, "other")
    asked.ended = {socket.consumer.identity.user for socket in sockets}
    bench.verifier.user_changed("7")
    await bench.idle()
    assert asked.batches == [BATCH, BATCH, 1]
    assert others.batches == []
    assert {socket.code for socket in sockets} == {4501}


async def test_a_failure_is_tried_again_with_growing_pauses_and_holds_up_nobody_else(bench, caplog):
    """The one authenticator fails: the other one's sockets are looked at all the same. The pauses double to
    30 seconds, it is said once, and what was to be looked at is not forgotten."""
    bench, failing, working = bench(), Asked(), Asked()
    [stuck], [fine] = bench.add(1, failing), bench.add(1, working, "fine")
    failing.error = RuntimeError("no database")
    working.ended = {fine.consumer.identity.user}
    failing.ended = {stuck.consumer.identity.user}
    bench.verifier.user_changed(stuck.user["id"])
    bench.verifier.user_changed(fine.user["id"])
    await bench.idle()
    assert (stuck.code, fine.code) == (None, 4501)
    tries = []
    for second in range(1, 100):
        before = len(failing.batches)
        await bench.tick()
        if len(failing.batches) > before:
            tries.append(second)
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert caplog.text.count("credentials_unverified") == 1
    failing.error = None
    for _ in range(int(LONGEST_PAUSE)):
        await bench.tick()
    assert stuck.code == 4501
    assert "credentials_verified_again" in caplog.text


async def test_an_answer_about_who_it_was_before_changes_nothing(bench):
    """A socket that signed in anew while its old token was looked at stays."""
    bench = bench()

    class Changing(Asked):
        def still_valid(self, identities: list[Identity]) -> list[bool]:
            socket.consumer.identity = Identity("user-0", self, {"sid": "new"})
            return [False]

    [socket] = bench.add(1, Changing())
    bench.verifier.user_changed("user-0")
    await bench.idle()
    assert socket.code is None


async def test_a_word_is_remembered_for_handshakes_under_way(bench):
    """A handshake that began before the word is looked at, or closed; one that began after it is not; and a
    word is forgotten after a minute."""
    bench, asked = bench(), Asked()
    [socket] = bench.add(1, asked)
    bench.hub.connections.clear()  # nobody knows of it yet
    began = bench.clock.now
    bench.clock.now += 1
    bench.verifier.user_changed("user-0")
    await bench.idle()
    assert asked.batches == []
    bench.verifier.admitted(socket, bench.clock.now + 1)
    await bench.idle()
    assert asked.batches == []
    bench.verifier.admitted(socket, began)
    await bench.idle()
    assert asked.batches == [1]
    bench.verifier.sign_in_ended("tokens:user-0")
    bench.verifier.admitted(socket, began)
    assert socket.code == 4501
    await bench.tick(REMEMBER + 1)
    assert bench.verifier.words == {}


async def test_a_token_expires_by_the_clock(bench, monkeypatch):
    """At its second it is closed, not before; without an expiry never."""
    bench, moment = bench(), 5000.0
    monkeypatch.setattr(verification, "time", SimpleNamespace(time=lambda: moment))
    ends, stays = Socket("ends", Asked(), 5001.0), Socket("stays", Asked())
    bench.hub.connections.update(ends=ends, stays=stays)
    await bench.tick()
    assert ends.code is None
    moment = 5001.0
    await bench.tick()
    assert (ends.code, stays.code) == (4501, None)
