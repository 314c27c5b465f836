"""The demo page's connection: when it comes back, when it doesn't, and what it tells the person."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Route

from tests.browser import SOCKETS, Scripted, Server, Windows, chromium, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("connection")) as server:
        server.shell("from chat.models import Room; Room.objects.create(name='closed', closed=True)")
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def windows(browser: Browser) -> Iterator[Windows]:
    windows = Windows(browser)
    yield windows
    windows.close()


def test_a_restarted_server_finds_its_windows_again(
    tmp_path_factory: pytest.TempPathFactory, windows: Windows
) -> None:
    """While the server is away the page says so and queues what is written; then all is delivered."""
    with serving(tmp_path_factory.mktemp("restart")) as server:
        ada = windows(server, "Ada").enter("tea")
        bo = windows(server, "Bo").enter("tea")
        ada.page.wait_for_function("() => document.getElementById('round-trip').textContent.endsWith(' ms')")
        server.stop()
        ada.reads("#status", "Reconnecting")
        ada.reads("#banner", "Trying again")
        for number in range(20):
            ada.say(f"while you were away {number}")
        ada.reads("#banner", "20 messages wait")
        ada.say("one too many")
        ada.reads("#composer-problem", "stays here")
        assert ada.page.input_value("#say") == "one too many"
        assert ada.messages() == []
        server.start()
        for window in (ada, bo):
            if (again := window.page.get_by_role("button", name="Try now")).is_visible():
                again.click()
        bo.connected()
        ada.connected()
        ada.hears("while you were away 19")
        assert ada.messages() == [f"while you were away {number}" for number in range(20)]
        assert ada.page.locator("#pending .message").count() == 0
        assert ada.page.locator("#banner").is_hidden()
        bo.say("welcome back")
        ada.hears("welcome back")


@pytest.mark.parametrize("code", [1012, 4413])
def test_it_comes_back_after(server: Server, windows: Windows, code: int) -> None:
    """After a close that is no refusal the page dials again by itself, and is connected."""
    window = windows(server, "Ada")
    sockets = Scripted(window)
    window.enter("r")
    sockets.dials[0].close(code=code)
    window.page.wait_for_function("() => document.getElementById('announcer').textContent !== 'Connected.'")
    window.connected()
    assert len(sockets.dials) == 2


@pytest.mark.parametrize(
    ("code", "words", "action"),
    [
        (1009, "too big", "Connect again"),
        (4501, "You were signed out", "Sign in"),
        (4503, "no longer have access", "Choose another room"),
        (4510, "An administrator closed this connection. Reason: <i>spam</i>", "Connect again"),
    ],
)
def test_it_does_not_come_back_after(
    server: Server, windows: Windows, code: int, words: str, action: str
) -> None:
    """After these the page stays away, says why, and offers what helps; writing keeps the text in the box."""
    window = windows(server, "Ada")
    sockets = Scripted(window)
    window.enter("r")
    sockets.dials[0].close(code=code, reason="<i>spam</i>")
    window.page.wait_for_selector("#status[data-status=stopped]")
    window.reads("#banner", words)
    banner = window.page.locator("#banner")
    assert banner.get_by_text(action, exact=True).is_visible()
    window.say("kept")
    assert window.page.input_value("#say") == "kept"
    assert len(sockets.dials) == 1
    banner.get_by_role("button", name="Connect again").click()
    window.connected()
    assert len(sockets.dials) == 2


@pytest.mark.parametrize(
    ("status", "code", "headers", "words"),
    [
        (426, "upgrade_required", {}, "Trying again"),
        (503, "draining", {"Retry-After": "40"}, "The server is restarting. Trying again in 4"),
        (429, "room_full", {"Retry-After": "40"}, "This room is full. Trying again in 4"),
        (0, "", {}, "The server can’t be reached. Trying again"),
    ],
)
def test_after_a_failed_handshake_it_asks_and_waits(
    server: Server, windows: Windows, status: int, code: str, headers: dict[str, str], words: str
) -> None:
    """A plain GET says that trying again is right; Retry-After is the least that the page waits."""
    window = windows(server, "Ada")
    window.page.route(SOCKETS, _answer(status, code, headers))
    window.open("/?room=closed")  # this handshake fails, and the browser does not say why
    window.reads("#banner", words)
    hurry = window.page.get_by_role("button", name="Try now")
    assert hurry.is_visible() is not ("Retry-After" in headers)
    assert window.page.locator("#status").get_attribute("data-status") == "waiting"


@pytest.mark.parametrize(
    ("status", "code", "words", "action"),
    [
        (400, "bad_request", "out of words", "Choose another room"),
        (401, "unauthenticated", "Sign in to join this conversation", "Sign in"),
        (403, "forbidden", "out of words", "Choose another room"),
        (404, "invalid_room", "out of words", "Choose another room"),
    ],
)
def test_after_a_refused_handshake_it_stops(
    server: Server, windows: Windows, status: int, code: str, words: str, action: str
) -> None:
    """A plain GET says that trying again is of no use: the page stops, with the reason and what helps."""
    window = windows(server, "Ada")
    window.page.route(SOCKETS, _answer(status, code, {}))
    window.open("/?room=closed")
    window.reads("#banner", words)
    assert window.page.locator("#status").get_attribute("data-status") == "stopped"
    assert window.page.locator("#banner").get_by_text(action, exact=True).is_visible()


def test_a_closed_room_is_told(server: Server, windows: Windows) -> None:
    """A room that is closed says so, and another can be chosen."""
    window = windows(server, "Ada").open("/?room=closed")
    window.reads("#banner", "This room is closed.")
    window.page.get_by_role("button", name="Choose another room").click()
    window.page.get_by_label("Room", exact=True).fill("open")
    window.page.keyboard.press("Enter")
    window.connected()


def test_access_that_is_withdrawn_ends_the_conversation(server: Server, windows: Windows) -> None:
    """When an administrator closes the room, its windows learn it and stay away."""
    window = windows(server, "Ada").enter("withdrawn")
    server.shell("from chat.models import Room; Room.objects.create(name='withdrawn', closed=True)")
    window.reads("#banner", "You no longer have access to this room.")
    assert window.page.locator("#status").get_attribute("data-status") == "stopped"


def test_a_refused_message_says_why_and_can_be_sent_again(server: Server, windows: Windows) -> None:
    """An error marks its message, in words; sent again it is a new one, which its ack marks as sent."""
    window = windows(server, "Ada")
    sockets = Scripted(window)
    window.enter("r")
    window.say("Hello?")
    first = sockets.wait_for_chats(1)[0]
    assert first["data"]["name"] == "Ada"
    sockets.send("error", {"code": "unavailable", "message": "no", "ref": first["id"], "retry_after": 1})
    window.reads("#pending .failure", "could not pass this on")
    window.page.get_by_role("button", name="Send again").click()
    second = sockets.wait_for_chats(2)[1]
    assert second["id"] != first["id"]
    window.page.wait_for_selector("#pending .message[data-status=sending]")
    sockets.send("ack", {"ref": second["id"], "id": "s-1"})
    window.page.wait_for_selector("#pending .message[data-status=sent]")
    sockets.send("chat", second["data"], **{"from": "me"})
    window.hears("Hello?")
    assert window.page.locator(".message").count() == 1


def test_what_a_broken_connection_took_is_marked(server: Server, windows: Windows) -> None:
    """A message under way when the connection breaks is marked as uncertain, and can be thrown away."""
    window = windows(server, "Ada")
    sockets = Scripted(window)
    window.enter("r")
    window.say("Did this arrive?")
    sockets.wait_for_chats(1)
    sockets.dials[0].close(code=1011)
    window.reads("#pending .failure", "before the server confirmed")
    window.page.get_by_role("button", name="Discard").click()
    assert window.page.locator(".message").count() == 0


def test_a_silent_server_is_left(server: Server, windows: Windows) -> None:
    """Pings go out every 10 s; 15 s without any answer end the connection and begin a new one."""
    window = windows(server, "Ada")
    window.page.clock.install()
    sockets = Scripted(window)
    window.enter("r")
    window.page.clock.fast_forward(9_000)
    assert len(sockets.dials) == 1
    window.page.clock.fast_forward(1_500)
    window.page.clock.fast_forward(16_000)
    window.reads("#status", "Reconnecting")
    window.page.clock.fast_forward(1_500)
    window.connected()
    assert len(sockets.dials) == 2
    assert [frame["type"] for frame in sockets.heard][:2] == ["ping", "ping"]


def test_every_close_code_has_its_rule(server: Server, windows: Windows) -> None:
    """4000 to 4499 come back, 4500 to 4999 don't; of the others those that trying again may help."""
    codes = [*range(1000, 1016), *range(4000, 5000)]
    page = windows(server).open().page
    back = page.evaluate(
        """async (codes) => {
            const { closeVerdict } = await import("/static/chat/policy.js");
            return codes.filter((code) => closeVerdict(code).retry);
        }""",
        codes,
    )
    stay_away = {1000, 1002, 1003, 1007, 1008, 1009, 1010, *range(4500, 5000)}
    assert back == [code for code in codes if code not in stay_away]


def test_the_wait_grows_and_is_jittered(server: Server, windows: Windows) -> None:
    """The n-th wait is 0 to 2**n s, at most 30 s; Retry-After counts in seconds or as a date."""
    page = windows(server).open().page
    waits = page.evaluate(
        """async () => {
            const { backoffDelay } = await import("/static/chat/policy.js");
            return [0, 1, 4, 5, 400].map((n) => [backoffDelay(n, () => 0), backoffDelay(n, () => 1)]);
        }"""
    )
    assert waits == [[0, 1000], [0, 2000], [0, 16000], [0, 30000], [0, 30000]]
    after = page.evaluate(
        """async () => {
            const { retryAfterMs } = await import("/static/chat/policy.js");
            const now = Date.parse("2024-01-15T10:30:00Z");
            const headers = ["7", "Mon, 15 Jan 2024 10:30:09 GMT", "Mon, 15 Jan 2024 10:00:00 GMT"];
            return [...headers, null, "soon", "999999999"].map((header) => retryAfterMs(header, now));
        }"""
    )
    assert after == [7000, 9000, 0, 0, 0, 600_000]


def _answer(status: int, code: str, headers: dict[str, str]) -> Any:
    def answer(route: Route) -> None:
        if status == 0:
            route.abort()
            return
        body = json.dumps({"error": {"code": code, "message": "The server is out of words."}})
        route.fulfill(status=status, headers=headers, content_type="application/json", body=body)

    return answer
