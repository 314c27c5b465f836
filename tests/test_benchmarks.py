"""The benchmarks' load generators, held against this project's own server."""

from collections.abc import Iterator

import pytest

from benchmarks.parts import MODELS, PARTS, Part
from benchmarks.peers import PEERS, Running
from benchmarks.resources import changes, reads, saves
from benchmarks.resources.askers import Askers
from benchmarks.resources.followers import Followers, title_of
from benchmarks.resources.languages import OURS
from benchmarks.resources.servers import SERVERS
from benchmarks.runner import Cores, place, started
from benchmarks.shop.rows import FIELDS
from benchmarks.sockets import SwarmError
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


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.key)
def test_every_target_is_a_row_of_the_table(part: Part) -> None:
    """A target names a metric and servers that are measured, so none is lost to a misspelling."""
    measured = {metric.key for metric in part.metrics}
    assert {target.metric for target in part.targets} <= measured
    assert {metric.workload for metric in part.metrics} == {workload.key for workload in part.workloads}
    assert {target.ours for target in part.targets} <= set(part.servers)
    assert {target.peer for target in part.targets} <= {*part.servers, None}


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


# --- models -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Iterator[Running]:
    """The shop behind this project's resources, on SQLite."""
    anywhere = Cores.anywhere()
    with place(anywhere) as where, started(SERVERS["ours_sqlite"], where) as running:
        yield running


def test_rows_are_asked_for_and_looked_at(shop: Running) -> None:
    """One row and a page are read, one at a time and many at once, and each request has its answer."""
    askers = Askers(OURS, shop.ports)
    try:
        askers.connect([("", 2)])
        (row,) = OURS.rows(askers.look(reads.one_row))
        assert list(row) == FIELDS
        assert askers.ask(0.1, reads.one_row, clients=1, burst=20).requests % 20 == 0
        assert len(OURS.rows(askers.look(reads.one_page))) == 100
        assert askers.ask(0.1, reads.one_page, clients=2, burst=1).requests >= 2
        with pytest.raises(SwarmError, match="unexpected answer"):
            askers.ask(0.0, lambda language, number: language.read_one(number, 10_000_000), 1, 1)
    finally:
        askers.close()


def test_changes_are_followed_to_those_whom_they_concern(shop: Running) -> None:
    """A change by another process, or over a socket, comes once to each subscription that matches."""
    crowd = Followers(shop.ports)
    try:
        crowd.connect([("", 20)])
        every = changes.KINDS["two"]
        crowd.subscribe([(client, every(number, 0)) for number, client in enumerate(crowd.clients)])
        concerned = [
            client
            for number, client in enumerate(crowd.clients)
            if number % changes.MATCHING == changes.CATEGORY
        ]
        with changes.task_process(shop) as process:
            followed = crowd.follow(0.2, changes.by_task(process), concerned)
        assert followed.deliveries == 2 * followed.changes > 0
        asker = crowd.clients[0]
        assert crowd.follow(0.2, changes.by_socket(asker), concerned, asker).changes > 0
        crowd.change_seconds = 0.2
        with pytest.raises(SwarmError, match="did not get"):
            crowd.follow(0.1, changes.by_socket(asker), crowd.clients)
    finally:
        crowd.close()
    assert title_of(7).startswith("bench:00000007x")


def test_saving_is_measured_for_both_models(shop: Running) -> None:
    """The process that saves gives a ratio for each way of saving."""
    values = saves.measured(shop, rounds=2, count=3)
    assert {name for name in values if name.endswith("_ratio")} == {
        metric.key
        for metric in MODELS.metrics
        if metric.workload == "resources-saves" and metric.key.endswith("_ratio")
    }
    assert min(values.values()) > 0
