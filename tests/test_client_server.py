"""static/chat/client.js in a real Chromium against servers that stop, freeze and lose their Redis."""

import json
import signal
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import WebSocket

from tests.browser import WAIT, Server, Windows, serving
from tests.kit import RedisServer, wait_until
from tests.lone_client import ROOM, LoneClient

# Short enough for a test; the proportions are those of the defaults.
QUICK = {
    "random": True,
    "backoff": {"base": 50, "cap": 400},
    "heartbeat": {"first": 50, "interval": 300, "timeout": 600},
    "handshakeTimeout": 600,
    "questionTimeout": 600,
}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


@pytest.fixture(scope="module")
def server(redis: RedisServer) -> Iterator[Server]:
    """Two workers on a Redis; a test may stop it if it starts it again."""
    prepare = (
        "from django.contrib.auth import get_user_model\n"
        "get_user_model().objects.create_user('grace', password='correct-horse')\n"
    )
    with serving(redis.url, prepare, workers=2) as server:
        yield server


def hears(client: LoneClient, count: int) -> list[str]:
    """What was said, in order, once so much was."""
    heard = "log.filter(([name, detail]) => name === 'message' && detail.type === 'chat')"
    client.page.wait_for_function(f"(count) => {heard}.length >= count", arg=count)
    said: list[str] = client.run(f"{heard}.map(([, {{ data }}]) => data.content)")
    return said


def in_its_room(client: LoneClient) -> None:
    """Wait until the client is connected, and was let into its room on this connection."""
    client.page.wait_for_function(
        """() => {
            const opened = log.filter(([name]) => name === "open").length;
            const joined = log.filter(([, detail]) => detail?.data?.event === "joined").length;
            return client.state.status === "open" && joined === opened;
        }"""
    )


def limit_rooms(server: Server, members: int) -> None:
    code = "from chat.models import ChatSettings; row = ChatSettings.load()"
    server.django(f"{code}; row.max_room_members = {members}; row.save()")


def test_a_server_that_is_stopped(server: Server, windows: Windows) -> None:
    """It is told, tries until the server is there again, and sends in order what was said meanwhile."""
    client = LoneClient(windows(server), **QUICK).open()
    first = client.run("client.welcome.client_id")
    server.stop()
    client.wait("drain")
    assert client.wait("close")["code"] == 1001
    assert client.wait("reconnecting", 3)["why"]["kind"] == "unreachable"
    for number in range(5):
        client.run("client.say(it)", f"meanwhile {number}")
    server.start()
    client.wait("open", 2)
    assert hears(client, 5) == [f"meanwhile {number}" for number in range(5)]
    client.page.wait_for_function(
        "() => log.filter(([, detail]) => detail?.status === 'accepted').length === 5"
    )
    assert client.run("client.welcome.client_id") != first
    assert client.run("client.state.attempt") > 1


def test_a_server_that_is_frozen(server: Server, windows: Windows) -> None:
    """Its sockets stay open and silent: the line counts as broken, and a new one is open when it goes on."""
    client = LoneClient(windows(server), **QUICK).open()
    client.wait("roundtrip")
    frozen = server.workers()
    for pid in frozen:
        server.signal(signal.SIGSTOP, pid)
    try:
        client.run("client.send({type: 'chat', id: 'lost', data: {content: 'Anybody?'}})")
        assert client.wait("reconnecting")["why"]["kind"] == "silent"
        assert client.wait("reconnecting", 2)["why"]["kind"] == "unreachable"
        assert client.events("delivery")[-1]["code"] == "unconfirmed"
    finally:
        for pid in frozen:
            server.signal(signal.SIGCONT, pid)
    client.wait("open", 2)
    client.run("client.say('Back again')")
    assert hears(client, 1)[-1] == "Back again"


def test_a_rolling_restart(server: Server, windows: Windows) -> None:
    """Each worker's clients are sent away with 1001, come back to its successor, and are in their rooms."""
    clients = [LoneClient(windows(server), **QUICK).open() for _ in range(3)]
    for client in clients:
        client.run("void client.join('tea')")
    for client in clients:
        in_its_room(client)
    old = set(server.workers())
    server.signal(signal.SIGHUP)
    wait_until(lambda: not old & set(server.workers()), "the successors", 30)
    for client in clients:
        assert client.wait("close")["code"] == 1001
        in_its_room(client)
    clients[0].run("client.say('Everybody here?', 'tea')")
    for client in clients:
        assert hears(client, 1) == ["Everybody here?"]


def test_without_redis_a_message_waits(server: Server, windows: Windows, redis: RedisServer) -> None:
    """Refused as `unavailable` it is kept, and accepted and heard once, in order, when Redis is back."""
    client = LoneClient(windows(server), **QUICK).open()
    redis.kill()
    for word in ("one", "two", "three"):
        client.run("client.say(it)", word)
    assert client.wait("paused")["code"] == "unavailable"
    assert client.run("client.queued") == 3
    redis.start()
    assert hears(client, 3) == ["one", "two", "three"]
    client.page.wait_for_function("() => client.queued === 0")


def test_a_full_room_lets_the_next_one_in(server: Server, windows: Windows) -> None:
    """Refused with 429 and Retry-After it waits so long at least, and is in when there is a place."""
    limit_rooms(server, 1)
    try:
        first = LoneClient(windows(server), **QUICK).open()
        wait_until(lambda: all(server.get(ROOM)[0] == 429 for _ in range(30)), "the limit on both workers")
        second = LoneClient(windows(server), **QUICK)
        second.run("void client.open()")
        second.page.wait_for_function("() => log.some(([, detail]) => detail?.why?.code === 'room_full')")
        state = second.run("client.state")
        assert (state["why"]["status"], state["mayHurry"]) == (429, False)
        assert state["retryAt"] - second.run("Date.now()") > 500
        first.run("client.close()")
        second.wait("open")
    finally:
        limit_rooms(server, 0)


def test_signed_out_in_another_tab(server: Server, windows: Windows) -> None:
    """4501: it gives up; opened again it is a visitor."""
    window = windows(server).open("/accounts/login/")
    window.page.get_by_label("Username").fill("grace")
    window.page.get_by_label("Password").fill("correct-horse")
    window.page.get_by_role("button", name="Sign in").click()
    window.page.wait_for_selector("#door:not([hidden])")
    client = LoneClient(window, **QUICK).open()
    assert client.run("client.welcome.user.username") == "grace"
    other = window.context.new_page()
    other.goto(server.url)
    other.locator("#door").get_by_role("button", name="Sign out").click()
    assert client.wait("gave_up")["why"]["status"] == 4501
    client.run("void client.open()")
    client.wait("open", 2)
    assert client.run("client.welcome.user") is None


def test_a_flood_arrives_whole(windows: Windows) -> None:
    """Faster than the server takes it, each message is refused until its time has come; all arrive, once."""
    with serving(MESSAGE_RATE="20", MESSAGE_BURST="10") as server:
        client = LoneClient(windows(server), **QUICK).open()
        said = [f"number {number}" for number in range(40)]
        client.run("it.forEach((words) => client.say(words))", said)
        assert sorted(hears(client, 40)) == sorted(said)
        assert client.wait("paused")["code"] == "rate_limited"
        assert client.names() == ["connecting", "open"]


def test_the_servers_ping_messages_are_answered(windows: Windows) -> None:
    """Where an operator wants ping messages, the client answers each with a `pong` of the same id."""
    with serving(APP_PING_INTERVAL="1") as server:
        window = windows(server)
        came: list[str] = []
        went: list[str] = []

        def watch(socket: WebSocket) -> None:
            socket.on("framereceived", lambda text: came.append(str(text)))
            socket.on("framesent", lambda text: went.append(str(text)))

        window.page.on("websocket", watch)
        client = LoneClient(window, heartbeat={"interval": 0}).open()
        deadline = time.monotonic() + WAIT / 1000
        while len(went) < 2:
            assert time.monotonic() < deadline, came
            client.run("0")  # lets the page's frames reach us
        asked = [frame["id"] for frame in map(json.loads, came) if frame["type"] == "ping"]
        assert [json.loads(text) for text in went] == [
            {"type": "pong", "id": one, "data": {}} for one in asked
        ]
        assert "ping" not in {envelope["type"] for envelope in client.events("message")}
