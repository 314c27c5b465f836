"""/metrics: one scrape tells of all workers of the host, whatever becomes of them or of Redis."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from chat.realtime.metrics import MEASURES, merge
from chat.realtime.testing.workers import pids
from tests.kit import ChatServer, Client, RedisServer, eventually, on_each_worker
from tests.scraping import parsed, scrape, value


@pytest.fixture(scope="module")
def shared() -> Iterator[ChatServer]:
    """Two workers of which numbers are read, on a Redis of their own."""
    redis = RedisServer().start()
    server = ChatServer(redis.url, workers=2).start()
    yield server
    server.stop()
    redis.stop()
    server.cleanup()
    redis.cleanup()


async def settled(server: ChatServer, name: str, wanted: float, **labels: str) -> None:
    """Wait until a sample has that value: the other worker's file is up to a second old."""
    await eventually(lambda: value(scrape(server), name, **labels) == wanted, f"{name} {labels} = {wanted}")


async def test_known_traffic_gives_the_right_sums(shared, connect, room):
    """Two members on two workers, five messages: every counter says exactly that, over both workers."""
    before = scrape(shared)

    def gained(name: str, **labels: str) -> float:
        return value(scrape(shared), name, **labels) - value(before, name, **labels)

    one, other = await on_each_worker(shared, lambda: connect(shared.ws(room)))
    await eventually(lambda: value(scrape(shared), "realtime_connections", state="open") == 2, "two open")
    for number in range(5):
        await one.send_chat(f"tea {number}", id=f"n{number}")
        await one.expect(type="ack")
    await other.send({"type": "dance"})
    await other.send("{")
    await other.take(2, type="error")
    await other.take(5, type="chat")
    await one.take(5, type="chat")
    await eventually(lambda: gained("realtime_messages_sent_total", type="chat") == 10, "10 sent")
    assert gained("realtime_messages_received_total", type="chat") == 5
    assert gained("realtime_messages_sent_total", type="ack") == 5
    await eventually(lambda: gained("realtime_messages_received_total", type="other") == 1, "one unknown")
    assert gained("realtime_messages_received_total", type="invalid") == 1
    assert gained("realtime_errors_total", code="unknown_type") == 1
    assert gained("realtime_errors_total", code="invalid_json") == 1
    assert gained("realtime_handler_seconds_count", type="chat") == 5
    assert gained("realtime_delivery_seconds_count") >= 2
    sent = [len(text.encode()) for client in (one, other) for text in client.texts]
    assert gained("realtime_sent_bytes_total") >= sum(sent)
    after = scrape(shared)
    assert value(after, "realtime_rooms") == 1
    assert value(after, "realtime_workers", state="serving") == 2
    assert value(after, "realtime_redis_up") == 1
    assert 0 < value(after, "realtime_redis_round_trip_seconds") < 1
    assert value(after, "realtime_send_queue_messages") == 0
    assert value(after, "realtime_resident_memory_bytes") > 2 * 20_000_000
    await one.close(1000)
    await other.close(1001)
    await eventually(lambda: gained("realtime_closes_total", code="1001") == 1, "the close code")
    accepted = gained("realtime_connections_accepted_total")
    await eventually(lambda: gained("realtime_closes_total") == accepted, "all closed")
    await settled(shared, "realtime_connections", 0)


async def test_refusals_are_counted_by_reason(shared):
    """Each refused handshake counts under its code."""
    before = scrape(shared)
    paths = {"/api/chat-api/ws/no%20room": None, "/ws/nowhere": None, "/api/chat-api/ws": "http://evil"}
    for path, origin in paths.items():
        with pytest.raises(Exception, match="HTTP"):
            await Client.connect(shared.websocket(path), origin=origin, welcomed=False)
    name = "realtime_refusals_total"
    for reason in ("invalid_room", "not_found", "forbidden_origin"):
        await settled(shared, name, value(before, name, reason=reason) + 1, reason=reason)


async def test_rooms_on_two_workers_are_one(shared, connect, room):
    """A room with members on both workers is one room; another one is a second."""
    members = await on_each_worker(shared, lambda: connect(shared.ws(room)))
    members.append(await connect(shared.ws(f"{room}-2")))
    await settled(shared, "realtime_rooms", 2)
    for member in members:
        await member.close()
    await settled(shared, "realtime_rooms", 0)


async def test_a_killed_workers_counters_stay(start_server, own_redis, connect, room):
    """Counters never go down when a worker is killed; what it was at that moment is gone."""
    server = start_server(own_redis.url, workers=2)
    one, other = await on_each_worker(server, lambda: connect(server.ws(room)))
    for number in range(20):
        await one.send_chat(f"tea {number}")
    await other.take(20, type="chat")
    await settled(server, "realtime_messages_received_total", 20, type="chat")
    before = scrape(server)
    server.signal(signal.SIGKILL, (await pids(server))[one.worker])
    await eventually(lambda: value(scrape(server), "realtime_connections", state="open") == 1, "one open")
    await settled(server, "realtime_workers", 2)
    for _ in range(10):
        after = scrape(server)
        for measure in MEASURES:
            if measure.kind == "counter":
                for labels, number in before.get(measure.exposed, {}).items():
                    assert after[measure.exposed][labels] >= number, measure.name
        before = after
    assert value(after, "realtime_messages_received_total", type="chat") == 20
    assert value(after, "realtime_messages_sent_total", type="chat") == 40
    server.stop(allow_tracebacks=True)


async def test_a_restarted_workers_counters_stay(start_server, own_redis, connect, room):
    """After SIGHUP new workers serve; what the old ones counted to their last moment is still there."""
    server = start_server(own_redis.url, workers=2)
    client = await connect(server.ws(room))
    for number in range(7):
        await client.send_chat(f"tea {number}")
    await client.take(7, type="chat")
    old = set(server.workers())
    server.signal(signal.SIGHUP)
    assert (await client.closed(15))[0] == 1001
    await eventually(lambda: not old & set(server.workers()), "new workers", 20)
    samples = scrape(server)
    assert value(samples, "realtime_messages_received_total", type="chat") == 7
    assert value(samples, "realtime_closes_total", code="1001") == 1
    assert value(samples, "realtime_workers") == 2


async def test_a_scrape_needs_no_redis(start_server, own_redis, connect):
    """While Redis is frozen, and when it is gone, a scrape is answered at once and says so."""
    server = start_server(own_redis.url, workers=2)
    await connect(server.ws())
    await settled(server, "realtime_redis_up", 1)
    own_redis.freeze()
    async with asyncio.timeout(2):
        await asyncio.to_thread(scrape, server)
    await eventually(lambda: value(scrape(server), "realtime_redis_up") == 0, "down", 10)
    own_redis.thaw()
    await eventually(lambda: value(scrape(server), "realtime_redis_up") == 1, "up again", 10)
    await eventually(lambda: value(scrape(server), "realtime_redis_reconnects_total") >= 1, "a reconnect")
    own_redis.kill()
    await eventually(lambda: value(scrape(server), "realtime_redis_up") == 0, "down", 10)
    own_redis.start()
    await eventually(lambda: value(scrape(server), "realtime_redis_up") == 1, "up again", 10)


async def test_concurrent_scrapes_agree(shared, connect, room):
    """Twenty scrapes at once, on both workers, give each the same counters."""
    client = await connect(shared.ws(room))
    await client.send_chat("tea")
    await client.expect(type="chat")
    await settled(shared, "realtime_connections", 1, state="open")
    texts = await asyncio.gather(*[asyncio.to_thread(shared.get, "/metrics") for _ in range(20)])
    found = [parsed(body.decode()) for status, _, body in texts if status == 200]
    assert len(found) == 20
    assert len({value(one, "realtime_messages_sent_total", type="chat") for one in found}) == 1
    assert {value(one, "realtime_connections_accepted_total") for one in found} == {
        value(found[0], "realtime_connections_accepted_total")
    }


async def test_nothing_that_a_client_chose_is_a_label(shared, connect, room):
    """Rooms, names, types, ids and close codes of clients are nowhere in the metrics."""
    client = await connect(shared.ws(f"{room}-Zanzibar", "name=Zanzibar"))
    await client.send({"type": "Zanzibar"})
    await client.send({"type": "ping", "id": {"type": "Zanzibar"}, "data": {"type": "Zanzibar"}})
    await client.send({"type": "ping", "id": 'a","type":"Zanzibar","b'})
    await client.send_chat("Zanzibar", data={"type": "Zanzibar"})
    await client.expect(type="chat")
    await client.socket.close(4321, "Zanzibar")
    await eventually(lambda: 'closes_total{code="other"' in shared.get("/metrics")[2].decode(), "the close")
    text = shared.get("/metrics")[2].decode()
    assert "Zanzibar" not in text
    assert "4321" not in text


def test_every_metric_is_there_with_help_and_type(shared):
    """The page is what Prometheus' own parser takes, and has each metric of the table, explained."""
    status, headers, body = shared.get("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    for measure in MEASURES:
        assert f"# HELP {measure.exposed} {measure.help}" in body.decode()
        assert f"# TYPE {measure.exposed} {measure.kind}" in body.decode()
    assert parsed(body.decode())


def test_openmetrics_is_spoken_to_those_who_ask(shared):
    """Prometheus' Accept header gets OpenMetrics; one that can't be read gets the plain text."""
    _, headers, body = shared.get(
        "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    )
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    for strange in ("application/openmetrics-text;version=x", "text/plain;version=;", "\xff" * 5000):
        assert shared.get("/metrics", Accept=strange)[0] == 200


@pytest.mark.parametrize(
    ("environment", "headers", "status"),
    [
        ({}, {}, 200),
        ({}, {"X_Forwarded_For": "127.0.0.1"}, 403),
        ({}, {"Forwarded": "for=127.0.0.1"}, 403),
        ({"METRICS": "off"}, {}, 404),
        ({"METRICS": "10.0.0.0/8"}, {}, 403),
        ({"METRICS": "10.0.0.0/8", "TRUSTED_PROXIES": "1"}, {"X_Forwarded_For": "1.2.3.4, 10.1.2.3"}, 200),
        ({"METRICS": "10.0.0.0/8", "TRUSTED_PROXIES": "1"}, {"X_Forwarded_For": "10.1.2.3, 1.2.3.4"}, 403),
        ({"METRICS": "10.0.0.0/8", "METRICS_TOKEN": "s3cret"}, {"Authorization": "Bearer s3cret"}, 200),
        ({"METRICS_TOKEN": "s3cret"}, {"Authorization": "Bearer guessed"}, 401),
        ({}, {"Authorization": "Bearer "}, 401),
    ],
)
def test_who_may_read_it(settings, environment, headers, status):
    """This machine, the networks of METRICS and who has METRICS_TOKEN; nobody through an unknown proxy."""
    answered = ask_page(settings, environment, headers)
    assert answered == status


def ask_page(settings, environment: dict[str, str], headers: dict[str, str]) -> int:
    """What the ASGI application says to a request from 127.0.0.1."""
    from unittest import mock

    from chat.realtime.errors import Refused
    from chat.realtime.metrics_page import MetricsPage, check_access
    from chatproject import env

    with mock.patch.dict("os.environ", environment):
        settings.REALTIME = {"METRICS": env.metrics("METRICS") | {"TOKEN": env.text("METRICS_TOKEN")}}
        settings.TRUSTED_PROXIES = env.whole("TRUSTED_PROXIES", 0, 0, 16)
    if not MetricsPage("/metrics").knows("/metrics"):
        return 404
    named = [(name.replace("_", "-").lower().encode(), text.encode()) for name, text in headers.items()]
    try:
        check_access({"headers": named, "client": ("127.0.0.1", 4000)})
    except Refused as refusal:
        return refusal.status
    return 200


def test_a_server_without_metrics_has_no_page(start_server):
    """METRICS=off: the path is Django's, which has nothing there. Other methods than GET are refused."""
    assert start_server(None, env={"METRICS": "off"}).get("/metrics")[0] == 404
    other = start_server(None, env={"METRICS": "10.0.0.0/8", "METRICS_TOKEN": "s3cret"})
    assert other.get("/metrics")[0] == 403
    assert other.get("/metrics", Authorization="Bearer s3cret")[0] == 200
    assert other.request("POST", "/metrics", b"", Authorization="Bearer s3cret")[0] == 405


def test_what_ended_workers_counted_is_added_once(tmp_path):
    """The last file of a process that is gone is added to the ended ones' sum, and only once, however often
    it is read, or found again."""
    import msgspec

    from chat.realtime import metrics_files

    gone = {
        "worker": "gone",
        "pid": 2**22 + 1,
        "born": 7,
        "rooms": [1],
        "values": {"realtime_errors": {"internal": 3}, "realtime_connections": {"open": 5}},
    }
    path = tmp_path / "gone.worker"
    for _ in range(3):
        path.write_bytes(msgspec.msgpack.encode(gone))
        found = metrics_files.gather(tmp_path, {})
        assert found["realtime_errors"] == {"internal": 3}
        assert found["realtime_connections"] == {}
    assert metrics_files.gather(tmp_path, {})["realtime_errors"] == {"internal": 3}


def test_gauges_are_joined_as_they_are_meant():
    """Sums of queues, the largest of the largest, and Redis is up only where every worker has it."""
    names = ("send_queue_messages", "send_queue_largest", "redis_up")

    def worker(numbers: tuple[int, ...], rooms: list[int]) -> dict:
        values = {f"realtime_{name}": {"": number} for name, number in zip(names, numbers, strict=True)}
        return {"values": values, "rooms": rooms}

    merged = merge([worker((2, 2, 1), [1, 2]), worker((3, 3, 0), [2, 3])])
    assert [merged[f"realtime_{name}"][""] for name in (*names, "rooms")] == [5, 3, 0, 3]


async def test_a_process_of_another_server_tells_of_itself(layer):
    """Without the supervisor's directory (uvicorn, daphne) a scrape has the values of this process alone."""
    from chat.realtime.metrics_page import MetricsPage

    sent = []

    async def send(event: dict) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "headers": [],
        "client": ["127.0.0.1", 4000],
    }
    await MetricsPage("/metrics")(scope, None, send)
    assert sent[0]["status"] == 200
    found = parsed(sent[1]["body"].decode())
    assert value(found, "realtime_workers", state="serving") == 1
    assert value(found, "realtime_connections", state="open") == 0


def test_a_worker_that_writes_nothing_is_late(tmp_path):
    """A loop that is blocked can't say so: it counts as late as its last word is old."""
    import os
    import time

    import msgspec

    from chat.realtime import metrics_files

    told = {"worker": "w1", "pid": os.getpid(), "rooms": [], "again": 2.0}
    told["values"] = {"realtime_event_loop_lag_seconds": {"": 0.001}}
    metrics_files.write(tmp_path, told)
    fresh = metrics_files.gather(tmp_path, {})["realtime_event_loop_lag_seconds"][""]
    assert fresh == 0.001
    path = tmp_path / "w1.worker"
    written = msgspec.msgpack.decode(path.read_bytes())
    path.write_bytes(msgspec.msgpack.encode(written | {"at": time.monotonic() - 30}))
    assert metrics_files.gather(tmp_path, {})["realtime_event_loop_lag_seconds"][""] >= 28
