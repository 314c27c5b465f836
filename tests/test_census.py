"""Counts in Redis stay right whatever meets whatever else on the way there."""

import asyncio

import pytest

from chat.realtime.census import Census, Place
from chat.realtime.errors import Full
from chat.realtime.hub import Hub


@pytest.mark.parametrize("layer", ["redis"], indirect=True)
async def test_who_is_refused_while_counts_are_written_takes_no_place(layer):
    """Counts are written while a handshake is asked about, so it is in them; refused, it is taken back."""
    hub = Hub(layer.for_loop())
    census = Census(hub)
    place = Place("test.one", 1, Full)
    assert await census.enter([place]) == [1]
    asking = hub.loop.create_task(census.enter([place]))
    while census.counted["test.one"] == 1:
        await asyncio.sleep(0)
    census.adopt([])
    census.write()
    with pytest.raises(Full):
        await asking
    done = hub.loop.create_future()
    census.leave(["test.one"], done.set_result)
    assert await done == [0]
    hub.stop()
