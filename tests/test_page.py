"""The demo page in real browser windows, on a real server."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.sync.client import connect

from tests.browser import WELCOME, Scripted, Server, Window, Windows, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    prepare = (
        "from django.contrib.auth import get_user_model\n"
        "from chat.models import Room\n"
        "get_user_model().objects.create_user('grace', password='correct-horse')\n"
        "Room.objects.create(name='signed-in', access='signed_in')\n"
    )
    with serving(prepare=prepare) as server:
        yield server


def test_two_windows_chat_and_a_third_in_another_room_hears_nothing(server: Server, windows: Windows) -> None:
    """What is said in a room is read by both of its windows, and by no window in another room."""
    ada, bo, cy = (windows(server, name) for name in ("Ada", "Bo", "Cy"))
    ada.enter("tea")
    bo.enter("tea")
    cy.enter("coffee")
    ada.say("Anyone here?")
    bo.hears("Anyone here?")
    bo.say("Yes!")
    ada.hears("Yes!")
    cy.say("Only me here")  # when this is back, everything before it would have come, too
    cy.hears("Only me here")
    assert ada.messages() == bo.messages() == ["Anyone here?", "Yes!"]
    assert cy.messages() == ["Only me here"]
    assert bo.page.locator(".message:not(.own) .author").all_text_contents() == ["Ada"]
    own = bo.page.locator(".message.own")
    assert own.count() == 1
    assert own.get_attribute("data-status") == "sent"


def test_the_first_visit_picks_a_name_and_a_room(server: Server, windows: Windows) -> None:
    """A first visit asks for a name and a room, says what is wrong with them, and keeps both."""
    window = windows(server).open()
    page = window.page
    page.get_by_label("Your name").fill("   ")
    page.get_by_role("button", name="Join").click()
    window.reads("#door-name-problem", "something to call you")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Room", exact=True).fill("not a room!")
    page.get_by_role("button", name="Join").click()
    window.reads("#door-room-problem", "1 to 128")
    page.get_by_label("Room", exact=True).fill("first.room")
    page.get_by_role("button", name="Join").click()
    window.connected()
    assert parse_qs(urlsplit(page.url).query) == {"room": ["first.room"]}
    window.reads("#empty", "Nobody has said anything yet")
    page.reload()
    window.connected()
    assert window.people() == ["Ada"]  # remembered
    page.go_back()
    page.wait_for_selector("#door:not([hidden])")


def test_people_come_and_go(server: Server, windows: Windows) -> None:
    """Who is here, who joined and who left is shown, by the names that the visitors gave."""
    ada = windows(server, "Ada").enter("doors")
    bo = windows(server, "Bo").enter("doors")
    ada.reads("#people-list", "Bo")
    ada.reads("#room-count", "2 people here")
    bo.reads("#people-list", "Ada")
    ada.reads("#messages", "Bo joined")
    twin = windows(server, "Ada").enter("doors")  # another of the same name: a second window, as it may be
    ada.reads("#room-count", "3 people here")
    ada.reads("#messages", "Bo and Ada joined")
    assert twin.people() == ["Ada", "Ada", "Bo"]
    twin.page.close()
    ada.reads("#room-count", "2 people here")
    bo.page.close()
    ada.reads("#messages", "Bo left")
    ada.reads("#room-count", "Only you are here")
    assert ada.people() == ["Ada"]


def test_what_is_said_to_everyone_reaches_the_rooms(server: Server, windows: Windows) -> None:
    """A message to everyone is read in a room too, and marked as such there."""
    ada = windows(server, "Ada").enter("far-away")
    bo = windows(server, "Bo").enter(None)
    bo.say("Hello, all rooms")
    bo.hears("Hello, all rooms")
    ada.hears("Hello, all rooms")
    assert ada.page.locator(".message .to-everyone").is_visible()
    assert not bo.page.locator(".message .to-everyone").is_visible()


def test_markup_is_text(server: Server, windows: Windows) -> None:
    """Markup in names and messages is shown as it was typed and makes no element; odd names break nothing."""
    attack = '<img src=x onerror="document.title=1"><script>document.title=2</script><b>hi</b>'
    mallory = windows(server, "<b>Mallory</b>").enter("safe")
    ada = windows(server, "Ada").enter("safe")
    mallory.say(attack)
    ada.hears(attack)
    assert ada.page.locator("#messages .author").first.text_content() == "<b>Mallory</b>"
    assert ada.people() == ["Ada", "<b>Mallory</b>"]
    assert ada.page.locator("#messages :is(img, script, b), #people-list b").count() == 0
    assert "safe" in ada.page.title()
    with connect(f"{server.socket_url}/safe") as odd:
        for name in ('{"a": 1}', "7", "null", '"\\u0000\\n  "', '"' + "x" * 5000 + '"'):
            odd.send(f'{{"type": "chat", "data": {{"content": "odd", "name": {name}}}}}')
        odd.send('{"type": "chat", "data": {"content": "javascript:alert(1) https://example.org/a?b=1."}}')
        ada.hears("javascript:alert(1) https://example.org/a?b=1.")
    links = ada.page.locator("#messages .text a")
    assert [link.get_attribute("href") for link in links.all()] == ["https://example.org/a?b=1"]
    assert max(len(name) for name in ada.page.locator("#messages .author").all_text_contents()) <= 64


def test_a_message_that_is_too_big_is_told_before_it_is_sent(server: Server, windows: Windows) -> None:
    """A text too long for one message stays in the box, with its size; the connection stays; shorter goes."""
    ada = windows(server, "Ada").enter("long")
    ada.say("ü" * 33_000)
    ada.reads("#composer-problem", "too long")
    ada.reads("#composer-size", "of 64 KB")
    assert ada.messages() == []
    assert len(ada.page.input_value("#say")) == 33_000
    ada.say("ü" * 32_000)
    ada.hears("ü" * 32_000)
    assert ada.page.get_by_role("button", name="Show all").is_visible()
    ada.connected()


def test_the_page_keeps_five_hundred_messages(server: Server, windows: Windows) -> None:
    """However much is said, the page holds the last 500 items, and stays at the newest."""
    ada = windows(server, "Ada").enter("flood")
    with connect(f"{server.socket_url}/flood", max_queue=None) as crowd:
        for number in range(520):
            crowd.send(f'{{"type": "chat", "data": {{"content": "number {number}"}}}}')
        ada.hears("number 519")
    assert ada.page.locator("#messages > li").count() <= 501  # and perhaps the name of the day
    assert ada.messages()[0] == f"number {520 - len(ada.messages())}"
    ada.page.wait_for_function(
        "() => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48"
    )


def test_what_was_not_seen_is_counted(server: Server, windows: Windows) -> None:
    """Scrolled up, or in a hidden tab, the page counts what is new and marks where it begins."""
    ada = windows(server, "Ada").enter("news")
    bo = windows(server, "Bo").enter("news")
    for number in range(30):
        bo.say(f"line {number}")
    ada.hears("line 29")
    ada.page.locator("#scroller").hover()
    ada.page.mouse.wheel(0, -5000)
    ada.page.wait_for_selector("#unread:not([hidden])")
    bo.say("did you see this?")
    ada.reads("#unread", "1 new message")
    assert ada.page.title().startswith("(1) #news")
    assert "New" in ada.lines()
    ada.page.locator("#unread").click()
    ada.page.wait_for_selector("#unread", state="hidden")
    assert ada.page.title().startswith("#news")

    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    ada.page.evaluate(hide, True)
    bo.say("and this?")
    ada.hears("and this?")
    assert ada.page.title().startswith("(1) #news")
    ada.page.evaluate(hide, False)
    ada.page.wait_for_function("() => document.title.startsWith('#news')")


def test_a_browser_that_remembers_nothing_still_chats(server: Server, windows: Windows) -> None:
    """Where storage is forbidden the page asks for the name again, and works."""
    window = windows(server)
    window.context.add_init_script(
        """Object.defineProperty(window, "localStorage", {
            get() { throw new DOMException("no", "SecurityError"); },
        });"""
    )
    window.open("/?room=forgetful")
    window.page.get_by_label("Your name").fill("Ada")
    window.page.keyboard.press("Enter")
    window.connected()
    window.say("It works")
    window.hears("It works")


def test_signing_in_opens_the_room_and_signing_out_ends_it(server: Server, windows: Windows) -> None:
    """From a refusal one signs in, is back in the room under a verified name, and can sign out."""
    window = windows(server, "Ada").open("/?room=signed-in")
    window.reads("#banner", "You may not join this room.")
    page = window.page
    page.locator("#banner").get_by_role("link", name="Sign in").click()
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    window.reads("[role=alert]", "correct username and password")
    page.get_by_label("Password").fill("correct-horse")
    page.get_by_role("button", name="Sign in").click()
    window.connected()
    assert page.url == f"{server.url}/?room=signed-in"
    window.reads("#people-list", "grace")
    assert page.locator("#people-list .verified").is_visible()
    window.say("It is me")
    window.hears("It is me")

    other = windows(server, "grace").enter("lobby")
    page.get_by_label("Go to a room").fill("lobby")
    page.keyboard.press("Enter")
    other.reads("#room-count", "2 people here")
    window.connected()
    window.say("The real one")
    other.hears("The real one")
    other.say("The other one")
    other.hears("The other one")
    verified = other.page.locator("#messages .message .verified")
    assert [mark.is_hidden() for mark in verified.all()] == [False, True]

    page.locator("#rooms").get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{server.url}/?room=lobby")
    window.connected()  # as Ada, whom this browser remembers
    window.reads("#me-name", "Ada")


def test_a_page_knows_that_it_was_signed_out_elsewhere(server: Server, windows: Windows) -> None:
    """Signed out in another tab, the page says so; connected again it goes by what the server says it is."""
    window = windows(server).open("/accounts/login/?next=/?room=tabs")
    page = window.page
    page.get_by_label("Username").fill("grace")
    page.get_by_label("Password").fill("correct-horse")
    page.get_by_role("button", name="Sign in").click()
    window.connected()
    window.reads(".me", "Signed in")
    other = Window(window.context, server.url).enter("tabs")
    other.page.locator("#rooms").get_by_role("button", name="Sign out").click()
    window.reads("#banner", "You were signed out.")
    assert page.locator("#banner").get_by_role("link", name="Sign in").is_visible()
    page.locator("#banner").get_by_role("button", name="Connect again").click()
    window.connected()
    window.reads(".me", "Guest")
    window.reads(".me", "Signed out · Sign in")


def test_a_large_room_says_what_is_not_told(server: Server, windows: Windows) -> None:
    """Where a room is too large for presence the page says so, and claims no exact number."""
    window = windows(server, "Ada")
    sockets = Scripted(window)
    window.enter("crowd")
    limits = {"max_message_bytes": 65536, "presence_limit": 3}
    sockets.send("system", WELCOME | {"limits": limits})
    members = [{"id": str(number), "name": f"P{number}", "user": None} for number in (10, 2)]
    sockets.send("system", {"event": "members", "members": members, "truncated": False})
    window.reads("#room-count", "3+ people here")
    window.reads("#people", "In a room of more than 3 nobody is told who comes and goes.")
    assert window.people() == ["Ada", "P2", "P10"]
    sockets.send("presence", {"status": "offline"}, **{"from": "2"})
    window.reads("#room-count", "2 people here")
    assert "more than 3" not in window.page.locator("#people").inner_text()


def test_a_server_for_users_only_offers_the_sign_in(windows: Windows) -> None:
    """Where a user is required, a visitor is told to sign in, with a link that comes back."""
    with serving(AUTH_ENABLED="true") as server:
        window = windows(server, "Ada").open("/?room=tea")
        window.reads("#banner", "Sign in to join this conversation.")
        link = window.page.locator("#banner").get_by_role("link", name="Sign in")
        assert link.get_attribute("href") == "/accounts/login/?next=%2F%3Froom%3Dtea"
