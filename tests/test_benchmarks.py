"""The benchmarks' load generator, held against this project's own server."""

from collections.abc import Iterator

import pytest

from benchmarks import metrics
from benchmarks.peers import PEERS, Running
from benchmarks.runner import Cores, place, started
from benchmarks.swarm import Swarm
from benchmarks.wire import MARK, ChatFrame


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """`manage.py serve` with a Redis and a database of its own, wherever the machine puts it."""
    anywhere = Cores.anywhere()
    with place(anywhere) as where, started(PEERS["ours"], where) as running:
        yield running


def _swarm(server: Running) -> Swarm:
    return Swarm(PEERS["ours"].dialect, server.ports)


def test_a_chat_frame_is_masked_and_carries_its_number() -> None:
    """A client's frame is the one that RFC 6455 asks for, with the number in its place."""
    frame = ChatFrame(b'{"content":"', b'"}')(1234)
    size = 12 + 100 + 2
    assert frame[:2] == bytes([0x81, 0x80 | size])
    key, masked = frame[2:6], frame[6:]
    payload = bytes(byte ^ key[place % 4] for place, byte in enumerate(masked))
    assert payload.startswith(b'{"content":"' + MARK + b"00001234x")
    assert len(payload) == size


def test_every_target_is_a_row_of_the_table() -> None:
    """A target names a metric that is measured, so none is lost to a misspelling."""
    measured = {metric.key for metric in metrics.METRICS}
    assert {target.metric for target in metrics.TARGETS} <= measured


def test_the_load_reaches_every_member_of_every_room(server: Running) -> None:
    """A few connections chat through the server, and each message is seen once by each member of its room."""
    swarm = _swarm(server)
    try:
        assert swarm.connect([("three", 3), ("two", 2)], seconds=5) == 5
        full = swarm.saturate(0.3, in_flight=2)
        paced = swarm.pace(0.3, per_second=50)
    finally:
        swarm.close()
    assert full.problems == paced.problems == []
    assert full.deliveries > 2 * full.messages > 0
    assert 10 <= paced.messages <= 20
    assert min(full.latencies) > 0
    assert server.cpu() > 0
    assert server.rss() > 10 * 2**20


def test_a_message_that_nobody_here_sent_makes_the_run_invalid(server: Running) -> None:
    """The load generator notices a delivery that is not its own, so such a figure is never counted."""
    here, elsewhere = _swarm(server), _swarm(server)
    try:
        here.connect([("shared", 1)], seconds=5)
        elsewhere.connect([("shared", 1)], seconds=5)
        elsewhere.saturate(0.05, in_flight=1)
        assert "not for" in here.saturate(0.05, in_flight=1).problems[0]
    finally:
        here.close()
        elsewhere.close()
