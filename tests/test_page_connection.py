"""The demo page's connection: when it comes back, when it doesn't, and what it tells the person."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Route

from tests.browser import SOCKETS, Scripted, Server, Windows, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    prepare = "from chat.models import Room; Room.objects.create(name='closed', closed=True)"
    with serving(prepare=prepare) as server:
        yield server


def test_a_restarted_server_finds_its_windows_again(windows: Windows) -> None:
    """While the server is away the page says so and queues what is written; then all is delivered."""
    with serving() as server:
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
        for window in (ada, bo):  # by script: the button goes when a wait has ended by itself
            window.page.evaluate("document.querySelector('#banner [data-act=hurry]')?.click()")
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
    window.page.clock.install(time=0)
    window.page.clock.pause_at(1_000)  # the wait is random and may be short
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
    server.django("from chat.models import Room; Room.objects.create(name='withdrawn', closed=True)")
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
    sockets.send("error", {"code": "internal", "message": "no", "ref": first["id"]})
    window.reads("#pending .failure", "Something went wrong on the server")
    window.page.get_by_role("button", name="Send again").click()
    second = sockets.wait_for_chats(2)[1]
    assert second["id"] != first["id"]
    window.page.wait_for_selector("#pending .message[data-status=sending]")
    sockets.send("ack", {"ref": second["id"], "id": "s-1"})
    window.page.wait_for_selector("#pending .message[data-status=sent]")
    sockets.send("chat", second["data"], **{"from": "me"})
    window.hears("Hello?")
    assert window.page.locator(".message").count() == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [("rate_limited", "You are writing too quickly."), ("unavailable", "can’t pass messages on right now.")],
)
def test_what_is_refused_for_now_waits_and_is_counted_down(
    server: Server, windows: Windows, code: str, words: str
) -> None:
    """The page says why, for how long, and how many wait; then the message goes out by itself."""
    window = windows(server, "Ada")
    window.page.clock.install()
    sockets = Scripted(window)
    window.enter("r")
    window.say("Hello?")
    first = sockets.wait_for_chats(1)[0]
    sockets.send("error", {"code": code, "message": "no", "ref": first["id"], "retry_after": 20})
    window.reads("#banner", f"{words} Sending goes on in 2")
    window.reads("#banner", "seconds. 1 message waits to be sent.")
    assert words in window.page.locator("#announcer[role=status]").inner_text()
    window.page.wait_for_selector("#pending .message[data-status=queued]")
    window.page.clock.run_for(21_000)
    assert sockets.wait_for_chats(2)[1] == first
    window.page.wait_for_selector("#banner", state="hidden")
    sockets.send("chat", first["data"], **{"from": "me"})
    window.hears("Hello?")


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


def _answer(status: int, code: str, headers: dict[str, str]) -> Any:
    def answer(route: Route) -> None:
        if status == 0:
            route.abort()
            return
        body = json.dumps({"error": {"code": code, "message": "The server is out of words."}})
        route.fulfill(status=status, headers=headers, content_type="application/json", body=body)

    return answer
