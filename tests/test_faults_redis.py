"""Redis dies, comes back, freezes: what the clients of two workers see meanwhile."""

import asyncio
import contextlib
import logging
import time

from tests.kit import ChatServer, RawSocket, eventually, on_each_worker
from tests.traffic import ACCEPTED, Pulse, Talker

figures = logging.getLogger("tests.figures")

AT_ONCE = 0.5  # seconds
RECOVERY = 3.0  # seconds from a Redis that answers again to messages that flow
PUBLISH_LIMIT = 3.5  # seconds until a message that Redis does not take is refused


async def test_redis_is_killed_and_comes_back_empty(own_redis, start_server, connect, room):
    """While Redis is down every message is refused, all else answers at once, no socket closes; when it is
    back, the same sockets chat again by themselves, and nothing that was accepted is lost."""
    server = start_server(own_redis.url, workers=2)
    ada, bob = await on_each_worker(server, lambda: connect(server.ws(room)))
    others = await on_each_worker(server, lambda: connect(server.ws("elsewhere")))
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        talkers = [await enter(Talker(ada, "ada")), await enter(Talker(bob, "bob"))]
        pulses = [await enter(Pulse.of(other)) for other in others]
        health = await enter(Pulse(lambda: _status(server, "health"), every=0.1))
        await eventually(lambda: all(len(t.heard) > 40 for t in talkers), "chatting")

        own_redis.kill()
        killed = time.monotonic()
        ready = asyncio.create_task(_status(server, "ready"))
        await eventually(
            lambda: all(len(t.with_answer("unavailable")) > 25 for t in talkers),
            "refusals",
            PUBLISH_LIMIT + 2,
        )
        assert await ready == 503
        own_redis.start()
        back = time.monotonic()
        await eventually(lambda: _hear_each_other(talkers, since=back), "messages across workers", RECOVERY)
        recovered = time.monotonic()
        assert await _status(server, "ready") == 200
        await _talk_on_and_stop(talkers)

    _every_message_is_answered_once(talkers)
    figures.info(
        "killed: recovery %.2f s, slowest refusal %.2f s, slowest ping %.3f s, slowest health %.3f s",
        recovered - back,
        max(t.slowest_answer for t in talkers),
        max(p.slowest for p in pulses),
        health.slowest,
    )
    assert max(t.slowest_answer for t in talkers) < PUBLISH_LIMIT
    assert max(pulse.slowest for pulse in [*pulses, health]) < AT_ONCE
    assert set(health.answers) == {200}
    while_down = {text for t in talkers for text, at in t.said.items() if killed < at < back - PUBLISH_LIMIT}
    assert not while_down & _accepted(talkers)
    assert _lost(talkers) == set()


async def test_redis_is_frozen_for_ten_seconds(own_redis, start_server, connect, room):
    """A Redis that takes commands and answers none holds up nobody: pings, health and refusals answer at
    once, messages and joins are refused in time, and what was refused does not come when it thaws."""
    server = start_server(own_redis.url, workers=2)
    ada, bob = await on_each_worker(server, lambda: connect(server.ws(room)))
    others = await on_each_worker(server, lambda: connect(server.ws("elsewhere")))
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        talkers = [await enter(Talker(ada, "ada")), await enter(Talker(bob, "bob"))]
        pulses = [await enter(Pulse.of(other)) for other in others]
        health = await enter(Pulse(lambda: _status(server, "health"), every=0.1))
        refused = await enter(Pulse(lambda: _status(server, "ws/not%20a%20room"), every=0.2))
        await eventually(lambda: all(len(t.heard) > 40 for t in talkers), "chatting")

        own_redis.freeze()
        frozen = time.monotonic()
        joins = [asyncio.create_task(_refused_join(server, f"new-{number}")) for number in range(4)]
        ready = await asyncio.to_thread(server.get, "/api/chat-api/ready")
        assert ready[0] == 503
        ready_took = time.monotonic() - frozen
        join_times = await asyncio.gather(*joins)
        await eventually(lambda: time.monotonic() - frozen >= 10, "ten seconds", 11)
        own_redis.thaw()
        thawed = time.monotonic()
        await eventually(lambda: _hear_each_other(talkers, since=thawed), "messages across workers", RECOVERY)
        recovered = time.monotonic()

        # Once more, for just so long that some deadlines are over at the thaw and some are not.
        own_redis.freeze()
        again = time.monotonic()
        await eventually(lambda: time.monotonic() - again >= 2.8, "a short freeze")
        own_redis.thaw()
        thawed_again = time.monotonic()
        await eventually(lambda: _hear_each_other(talkers, thawed_again), "messages again", RECOVERY)
        await _talk_on_and_stop(talkers)

    _every_message_is_answered_once(talkers)
    refusals = _refused(talkers)
    figures.info(
        "frozen: recovery %.2f s, %d refusals, slowest %.2f s, ping %.3f s, health %.3f s, refused handshake "
        "%.3f s, join %.2f s, ready %.2f s",
        recovered - thawed,
        len(refusals),
        max(t.slowest_answer for t in talkers),
        max(p.slowest for p in pulses),
        health.slowest,
        refused.slowest,
        max(join_times),
        ready_took,
    )
    assert len(refusals) > 200
    assert max(t.slowest_answer for t in talkers) < PUBLISH_LIMIT
    assert max(pulse.slowest for pulse in [*pulses, health, refused]) < AT_ONCE
    assert max(join_times) < PUBLISH_LIMIT
    assert set(health.answers) == {200}
    assert set(refused.answers) == {404}
    for talker in talkers:
        assert not refusals & talker.heard.keys(), "refused, and delivered all the same"
    assert _lost(talkers) == set()


async def _status(server: ChatServer, path: str) -> int:
    return (await asyncio.to_thread(server.get, f"/api/chat-api/{path}"))[0]


async def _refused_join(server: ChatServer, room: str) -> float:
    """Seconds until a handshake is refused with 503."""
    began = time.monotonic()
    raw = await RawSocket.open(server.port)
    answer = await raw.handshake(f"/api/chat-api/ws/{room}")
    await raw.close()
    assert (answer.status, answer.code) == (503, "unavailable")
    return time.monotonic() - began


def _hear_each_other(talkers: list[Talker], since: float) -> bool:
    """Whether each hears every one of them say something that was sent after ``since``."""
    for talker in talkers:
        for other in talkers:
            if not any(at > since and text in talker.heard for text, at in other.said.items()):
                return False
    return True


async def _talk_on_and_stop(talkers: list[Talker]) -> None:
    """Some more messages, then silence until each is answered and what is accepted has had time to come."""
    counts = [len(talker.said) for talker in talkers]
    await eventually(
        lambda: all(len(t.said) > count + 40 for t, count in zip(talkers, counts, strict=True)),
        "more messages",
    )
    for talker in talkers:
        talker.talking = False
    await eventually(lambda: not any(t.unanswered for t in talkers), "an answer to each message")
    last = [f"{talker.name}-{talker._number}" for talker in talkers]
    await eventually(lambda: all(text in t.heard for t in talkers for text in last), "the last messages")


def _every_message_is_answered_once(talkers: list[Talker]) -> None:
    for talker in talkers:
        assert not talker.unanswered
        assert not talker.twice
        assert {code for code, _ in talker.answered.values()} <= {ACCEPTED, "unavailable"}


def _accepted(talkers: list[Talker]) -> set[str]:
    return {text for talker in talkers for text in talker.with_answer(ACCEPTED)}


def _refused(talkers: list[Talker]) -> set[str]:
    return {text for talker in talkers for text in talker.with_answer("unavailable")}


def _lost(talkers: list[Talker]) -> set[str]:
    """What was accepted and did not reach each of them."""
    return {text for text in _accepted(talkers) if not all(text in talker.heard for talker in talkers)}
