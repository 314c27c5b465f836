"""The demo page and rooms with a password: asked for, given over the open socket, kept in no address."""

from collections.abc import Iterator

import pytest

from tests.browser import Scripted, Server, Window, Windows, serving
from tests.kit import wait_until

ROOM = "/?room=secret"
GLOBAL = "**/api/chat-api/ws?**"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    prepare = "from chat.models import Room; Room.objects.create(name='secret', closed=True)"
    with serving(prepare=prepare) as server:
        yield server


def at_the_room(server: Server, windows: Windows) -> tuple[Window, Scripted]:
    """A window before a room that wants a password: its handshake fails, and the plain GET says why."""
    window = windows(server, "Ada")
    refusal = {"error": {"code": "password_required", "message": "This room has a password."}}
    window.page.route("**/api/chat-api/ws/secret?**", lambda route: route.fulfill(status=403, json=refusal))
    sockets = Scripted(window, sockets=GLOBAL)
    window.open(ROOM).page.wait_for_selector("#password[open]")
    return window, sockets


def give(window: Window, sockets: Scripted, password: str) -> str:
    """Type a password and press Enter; returns the id of the `join` that this sends."""
    before = len(sockets.dials)
    window.page.keyboard.type(password)
    window.page.keyboard.press("Enter")
    [join] = sockets.wait_for("join", before + 1)[before:]
    assert (join["room"], join["data"]) == ("secret", {"password": password, "members": True})
    return str(join["id"])


def test_a_room_with_a_password_lets_in(server: Server, windows: Windows) -> None:
    """By keyboard alone: the dialog takes the focus, Enter gives the password, and the room is open."""
    window, sockets = at_the_room(server, windows)
    page = window.page
    assert page.get_by_role("dialog", name="#secret has a password").is_visible()
    assert page.evaluate("document.activeElement.id") == "password-field"
    page.keyboard.press("Enter")
    window.reads("#password-problem", "Type the room’s password.")
    ref = give(window, sockets, "open sesame")
    assert page.locator("#status").get_attribute("data-status") == "connecting"
    sockets.send("system", {"event": "joined", "room": "secret", "ref": ref}, room="secret")
    window.connected()
    members = [{"id": "me", "name": "Ada", "user": None}, {"id": "b", "name": "Bo", "user": None}]
    sockets.send("system", {"event": "members", "members": members, "truncated": False}, room="secret")
    window.reads("#room-count", "2 people here")
    window.say("Hello")
    [chat] = sockets.wait_for("chat", 1)
    assert chat["room"] == "secret"
    sockets.send("chat", chat["data"], room="secret", **{"from": "me"})
    window.hears("Hello")
    for address in (page.url, *(dial.url for dial in sockets.dials)):
        assert "sesame" not in address
    assert "sesame" not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")


def test_after_a_broken_connection_the_room_is_joined_again(server: Server, windows: Windows) -> None:
    """The page gives the password again by itself, and for another visit in the same window, too."""
    window, sockets = at_the_room(server, windows)
    ref = give(window, sockets, "open sesame")
    sockets.send("system", {"event": "joined", "room": "secret", "ref": ref}, room="secret")
    window.connected()
    sockets.dials[0].close(code=1001)
    join = sockets.wait_for("join", 2)[1]
    assert join["data"]["password"] == "open sesame"
    sockets.send("system", {"event": "joined", "room": "secret", "ref": join["id"]}, room="secret")
    window.connected()
    window.page.get_by_role("link", name="Everyone", exact=True).click()
    window.page.go_back()
    assert sockets.wait_for("join", 3)[2]["data"]["password"] == "open sesame"


def test_a_wrong_password_is_asked_for_again(server: Server, windows: Windows) -> None:
    """Refused, the dialog says so; cancelled, the page offers to try again or to go elsewhere."""
    window, sockets = at_the_room(server, windows)
    ref = give(window, sockets, "abracadabra")
    sockets.send("error", {"code": "forbidden", "message": "No.", "ref": ref})
    window.reads("#password-problem", "That is not the room’s password")
    field = window.page.get_by_label("Password", exact=True)
    assert field.get_attribute("aria-invalid") == "true"
    assert field.input_value() == ""
    window.page.keyboard.press("Escape")
    window.page.wait_for_selector("#password", state="hidden")
    banner = window.page.locator("#banner")
    assert banner.get_by_role("button", name="Choose another room").is_visible()
    banner.get_by_role("button", name="Enter the password").click()
    window.page.wait_for_selector("#password[open]")


def test_whoever_is_put_out_is_told(server: Server, windows: Windows) -> None:
    """A room that takes its welcome back says so, though the connection itself is fine."""
    window, sockets = at_the_room(server, windows)
    ref = give(window, sockets, "open sesame")
    sockets.send("system", {"event": "joined", "room": "secret", "ref": ref}, room="secret")
    window.connected()
    sockets.send("system", {"event": "left", "room": "secret", "reason": "access_withdrawn"}, room="secret")
    window.reads("#banner", "You no longer have access to this room.")
    assert window.page.locator("#status").get_attribute("data-status") == "stopped"


def test_a_real_password_opens_a_real_room(server: Server, windows: Windows) -> None:
    """A wrong password is refused by the server, the right one lets in, and another one puts out."""
    change = "from chat.models import Room; room, _ = Room.objects.get_or_create(name='tea')"
    server.django(f"{change}; room.set_password('open sesame'); room.save()")
    wait_until(lambda: b"password_required" in server.get("/api/chat-api/ws/tea")[2], "the password")
    ada, bo = (windows(server, name).open("/?room=tea") for name in ("Ada", "Bo"))
    for window, words in ((ada, ("abracadabra", "open sesame")), (bo, ("open sesame",))):
        for password in words:
            window.page.wait_for_selector("#password[open]")
            window.page.keyboard.type(password)
            window.page.keyboard.press("Enter")
            window.page.wait_for_selector("#password:not([open])", state="attached")
    for window in (ada, bo):
        window.connected()
        window.reads("#room-count", "2 people here")
    ada.say("Just us")
    bo.hears("Just us")
    server.django(f"{change}; room.set_password('shazam'); room.save()")
    for window in (ada, bo):
        window.reads("#banner", "You no longer have access to this room.")
    ada.page.get_by_role("button", name="Connect again").click()
    ada.reads("#password-problem", "That is not the room’s password")
    ada.page.keyboard.type("shazam")
    ada.page.keyboard.press("Enter")
    ada.connected()


def test_too_many_guesses_wait(server: Server, windows: Windows) -> None:
    """The page says that the server lets nobody guess for a while, and tries again after that."""
    window, sockets = at_the_room(server, windows)
    ref = give(window, sockets, "abracadabra")
    words = "Too many wrong passwords. Try again later."
    sockets.send("error", {"code": "rate_limited", "message": words, "ref": ref, "retry_after": 40})
    window.reads("#banner", f"{words} Trying again in 4")
    assert window.page.locator("#status").get_attribute("data-status") == "connecting"


def test_the_dialog_fits_a_phone(server: Server, windows: Windows) -> None:
    """At 320 pixels nothing of it is out of sight."""
    window, _ = at_the_room(server, windows)
    window.page.set_viewport_size({"width": 320, "height": 568})
    box = window.page.locator("#password").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 320
    assert box["height"] <= 568
