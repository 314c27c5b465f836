"""What a feed tells, whatever the order in which rows change, changes are heard and the database answers."""

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chat.realtime.testing import eventually
from chat.resources import feed, groups
from chat.resources.heard import REMEMBERED, Change, Heard
from tests.feed_world import World

KEYS, VALUES, PLACES = st.integers(1, 2), st.sampled_from([None, 0, 1, 1, 2, 3]), st.integers(0, 4)
COMMIT = st.tuples(st.just("commit"), KEYS, VALUES, st.integers(1, 2))
HEAR = st.tuples(st.just("hear"), PLACES)
VISIT = st.tuples(st.just("visit"), PLACES, st.booleans())
SUBSCRIBE = st.tuples(
    st.just("subscribe"),
    st.booleans(),
    st.integers(0, 3),
    st.integers(1, 2),
    st.sampled_from([True, True, False]),
)
WAIT = st.tuples(st.just("wait"), st.sampled_from([0.5, 1.5, 2.5]))
MORE = st.one_of(COMMIT, COMMIT, COMMIT, HEAR, HEAR, HEAR, VISIT, VISIT, SUBSCRIBE, WAIT)
STEPS = st.lists(MORE, min_size=10, max_size=50)


async def told(steps: list[Any], in_order: bool) -> World:
    """Do the steps, then all that is under way; every subscriber knows what it may see."""
    async with World() as world:
        for what, *args in steps:
            if what == "wait":
                await world.wait(*args)
            elif what == "hear" and in_order:
                await world.step(what, 0)
            else:
                await world.step(what, *args)
        await world.finish()
        for one in world.subscribers:
            if one.lost:
                continue
            there = one.expected(world.table)
            if one.query.snapshot:
                assert one.rows == there
            for key, last in one.last.items():
                assert (last["operation"] == "delete") == (key not in there)
                assert last["operation"] == "delete" or last["data"] == there[key]
    return world


# Newcomers see a change, and what followed on it, when the others have not heard that; then they join them.
AHEAD = [
    *[("subscribe", False, 1, 1, True), ("wait", 2.5), ("wait", 1.5), ("commit", 1, 1, 1)],
    *[("commit", 1, None, 1), ("hear", 0), ("wait", 0.5), ("wait", 0.5), ("hear", 0)],
]


@settings(max_examples=250, derandomize=True)
@given(STEPS)
@example(AHEAD)
def test_what_is_heard_in_order(steps):
    """What was told adds up to what there is; a create only of what was not known, an update and a delete
    only of what was."""
    world = asyncio.run(told(steps, in_order=True))
    assert [one.wrong for one in world.subscribers if one.query.snapshot and one.wrong] == []


def quiet(value: int) -> list[Any]:
    """There is a row with this value, and one who follows those with the value 1 for long."""
    return [("commit", 1, value, 1), ("subscribe", False, 1, 1, True), *[("wait", 2.5)] * 4]


# A change is heard after the one that followed on it: the row has left since, is back, has gone on.
LEFT = [*quiet(1), ("commit", 1, 2, 1), ("commit", 1, 3, 1), ("hear", 1), ("hear", 0)]
BACK = [*quiet(1), ("commit", 1, 2, 1), ("commit", 1, 1, 1), ("hear", 1), ("hear", 0)]
ON = [*quiet(0), ("commit", 1, 2, 1), ("commit", 1, 3, 1), ("commit", 1, 1, 1), ("hear", 1), ("hear", 0)]


@settings(max_examples=250, derandomize=True)
@given(STEPS)
@example(LEFT)
@example(BACK)
@example(ON)
def test_what_is_heard_in_any_order(steps):
    """What was told adds up to what there is."""
    asyncio.run(told(steps, in_order=False))


@settings(max_examples=100, derandomize=True)
@given(st.lists(st.one_of(COMMIT, HEAR, VISIT, SUBSCRIBE, st.tuples(st.just("miss"), PLACES)), max_size=30))
@example([("subscribe", False, 0, 1, True), ("visit", 0, False), ("commit", 1, 1, 1), ("miss", 0)])
@example([("subscribe", True, 0, 1, True), ("visit", 0, False), ("commit", 1, 1, 1), ("miss", 0)])
def test_what_is_missed(steps):
    """Who follows when changes are missed is closed; who is just coming gets what there is."""
    asyncio.run(told(steps, in_order=True))


@pytest.mark.parametrize("turns", range(8))
async def test_a_request_that_ends_while_its_snapshot_is_read(turns):
    """It leaves no subscription, however many turns of the loop after the answer; others of the same reading
    get theirs."""
    async with World() as world:
        for _ in range(2):
            await world.step("subscribe", False, 0, 1, True)
        gone, stays = world.subscribers
        world.visit(0, True)
        for _ in range(turns):
            await asyncio.sleep(0)
        was_over = gone.task.done()
        gone.task.cancel()
        await world.finish()
        assert bool(gone.subscriptions) == was_over
        (subscription,) = stays.subscriptions.values()
        assert subscription.group.size == 1 + was_over
        for one in (gone, stays):
            for subscription in list(one.subscriptions.values()):
                subscription.withdraw(one)
        assert not world.feed.followers


async def test_one_group_that_fails(monkeypatch):
    """What an app's code raises for some ends their subscriptions alone."""
    ended = []
    async with World() as world:
        for filters in (0, 1):
            await world.step("subscribe", False, filters, 1, False)
        bad, good = world.subscribers
        (group,) = [one.group for one in bad.subscriptions.values()]
        monkeypatch.setattr(group, "test", lambda row: row["secret"])
        monkeypatch.setattr(bad, "end_subscription", lambda *args: ended.append(args), raising=False)
        await world.step("commit", 1, 1, 1)
        await world.finish()
        assert [(ident, why.code) for ident, why in ended] == [(group.id, "read_error")]
        assert list(good.last) == [1]
        assert not good.lost


async def test_redis_was_away():
    """Who follows is closed, and the next who comes has every process told anew that somebody follows: those
    that published meanwhile found nobody."""
    async with World() as world:
        await world.step("subscribe", False, 0, 1, False)
        world.layer.reconnects += 1
        world.feed.sweep(world.now)
        assert world.subscribers[0].lost
        world.announced = 0
        await world.step("subscribe", False, 0, 1, True)
        assert world.announced == 2
        await world.step("commit", 1, 1, 1)
        await world.finish()
        assert world.subscribers[1].rows == world.table


async def test_more_changes_during_a_snapshot_than_are_noted(monkeypatch):
    """It is read again."""
    monkeypatch.setattr(groups, "MOST_TOUCHED", 1)
    async with World() as world:
        await world.step("subscribe", False, 0, 1, True)
        await world.step("visit", 0, False)
        for key in (1, 2):
            await world.step("commit", key, 1, 1)
            await world.step("hear", 0)
        await world.step("visit", 0, True)
        assert world.subscribers[0].rows is None
        await world.finish()
        assert world.subscribers[0].rows == world.table


async def test_a_database_that_does_not_answer(monkeypatch):
    """Who needs it is closed after a while: they come back when it answers, and miss nothing unknowingly."""
    monkeypatch.setattr(feed, "PATIENCE", 0.01)
    async with World() as world:
        await world.step("subscribe", True, 0, 1, True)
        await world.step("visit", 0, True)
        await world.step("commit", 1, 1, 1)
        await world.step("hear", 0)
        (one,) = world.subscribers
        await eventually(lambda: one.lost, "closed")
        assert not world.feed.followers


def test_more_rows_than_are_remembered(monkeypatch):
    """Of rows beyond the bounds only the digest is kept, then nothing: every row counts as unclear then, for
    a while."""
    monkeypatch.setattr("chat.resources.heard.MOST_REMEMBERED", 10)
    monkeypatch.setattr("chat.resources.heard.MOST_DIGESTS", 10)
    heard = Heard()
    follows, older, other = Change(0, was=b"b", now=b"c"), Change(0, was=b"0", now=b"a"), Change("x")
    for key in range(20):
        heard.note(Change(key, was=b"a", now=b"b"), b"b", None, now=0.0)
    assert [heard.unclear([change], 1.0) for change in (follows, older, other)] == [set(), {0}, set()]
    heard.note(Change(20, was=b"a", now=b"b"), b"b", None, now=0.0)
    assert [heard.unclear([change], 1.0) for change in (follows, older, other)] == [{0}, {0}, {"x"}]
    assert heard.unclear([follows, older, other], REMEMBERED + 1) == {0}  # by its own order
    heard.sweep(REMEMBERED + 1)
    assert all(heard.word(key, REMEMBERED) is None for key in range(21))
