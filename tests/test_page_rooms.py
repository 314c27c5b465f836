"""The demo page's list of rooms: the rooms of the database as they are, at the door and beside the chat."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import WAIT, Scripted, Server, Window, Windows, serving
from tests.kit import RedisServer, wait_until

RESOURCES = "/api/resources/ws"
DOOR, SIDE = "#door-directory", "#side-directory"
HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
# What each row says, as one sees it: title, name where it says more, and the word at its end.
ROWS = """(list) => [...document.querySelectorAll(`${list} li`)].map((row) =>
    [...row.querySelectorAll(".listed-title, .listed-name, .listed-access")]
        .map((part) => part.textContent).filter(Boolean).join(" | "))"""


@pytest.fixture(scope="module")
def _server(redis: RedisServer) -> Iterator[Server]:
    # A change is made in another process, as by a task: it comes over Redis. A database number of its own.
    with serving(redis.url.removesuffix("0") + "2") as server:
        yield server


@pytest.fixture
def server(_server: Server) -> Server:
    """A server without rooms."""
    _server.django("from chat.models import Room; Room.objects.all().delete()")
    return _server


def lists(window: Window, *rows: str, at: str = DOOR) -> None:
    """Wait until the list has exactly these rows."""
    window.page.wait_for_function(
        f"([list, rows]) => JSON.stringify(({ROWS})(list)) === JSON.stringify(rows)", arg=[at, list(rows)]
    )


def dialled(window: Window) -> list[str]:
    """The list's connections, as the page makes them: "open", or "closed"."""
    states: list[str] = []
    sockets: list[Any] = []

    def opened(socket: Any) -> None:
        if not socket.url.endswith(RESOURCES):
            return
        sockets.append(socket)
        states.append("open")
        socket.on("close", lambda _: states.__setitem__(sockets.index(socket), "closed"))

    window.page.on("websocket", opened)
    return states


def until(window: Window, states: list[str], wanted: list[str]) -> None:
    """Wait until the list's connections are in these states."""
    deadline = time.monotonic() + WAIT / 1000
    while states != wanted:
        assert time.monotonic() < deadline, states
        window.page.evaluate("0")  # lets the page's events reach us


def later(window: Window, seconds: int) -> None:
    """Move the page's clock, in steps in which the server can answer the page's pings."""
    for _ in range(0, seconds, 5):
        window.page.clock.run_for(5_000)
        window.page.evaluate("fetch('/api/chat-api/health').then(() => null)")


def focused(window: Window) -> str:
    return str(
        window.page.evaluate("document.activeElement.querySelector('.listed-title')?.textContent ?? ''")
    )


# --- what is listed -----------------------------------------------------------------------------------------


def test_the_rooms_are_listed_by_title_with_who_may_join(server: Server, windows: Windows) -> None:
    """A room has its title, its name where that says more, and a word: who may join, or that it is closed."""
    server.create_room("zoo", title="Animals")
    server.create_room("film-night", title="Film night")
    server.create_room("lounge")
    server.create_room("old", title="Élan", closed=True)
    server.create_room("staff", title="Staff", access="signed_in")
    window = windows(server, "Ada").open()
    anyone = ["Animals | zoo | everyone", "Élan | old | closed", "Film night | everyone", "lounge | everyone"]
    lists(window, *anyone)
    heard = window.page.get_by_role("list", name="Rooms to choose from").aria_snapshot()
    assert 'link "Animals, zoo, everyone may join"' in heard
    assert 'link "Élan, old, closed"' in heard

    grace = server.create_user("grace")
    server.create_room("board", title="Board", access="members", members=(grace.id,))
    server.create_room("cellar", access="members")
    signed_in = windows(server)
    cookie = {"name": "sessionid", "value": grace.session_key, "url": server.url}
    signed_in.context.add_cookies([cookie])  # type: ignore[list-item]
    signed_in.open()
    lists(signed_in, anyone[0], "Board | members", *anyone[1:], "Staff | signed-in")
    server.django("from chat.models import Room; Room.objects.get(name='board').members.clear()")
    lists(signed_in, *anyone, "Staff | signed-in")
    lists(window, *anyone)


def test_the_list_follows_the_rooms(server: Server, windows: Windows) -> None:
    """Rooms come, are renamed, closed, opened and go on an open page, and nothing is read aloud meanwhile."""
    window = windows(server, "Ada").open()
    window.reads(DOOR, "No rooms yet: type a name to open one.")
    server.create_room("tea", title="Tea")
    server.create_room("beans", title="Beans")
    lists(window, "Beans | everyone", "Tea | everyone")
    assert "No rooms" not in window.page.locator(DOOR).inner_text()
    server.change_room("beans", title="Zebra")
    lists(window, "Tea | everyone", "Zebra | beans | everyone")
    server.change_room("tea", closed=True)
    lists(window, "Tea | closed", "Zebra | beans | everyone")
    server.django("from chat.models import Room; Room.objects.filter(closed=True).first().delete()")
    server.create_room("tee", title="Tea")
    lists(window, "Tea | tee | everyone", "Zebra | beans | everyone")
    server.change_room("beans", access="members")
    lists(window, "Tea | tee | everyone")
    server.django("from chat.models import Room; Room.objects.get(name='tee').delete()")
    window.reads(DOOR, "No rooms yet")
    assert window.page.locator(f"{DOOR} [role=status]").text_content() == ""


def test_markup_in_a_title_is_text(server: Server, windows: Windows) -> None:
    """A title is shown as it was typed and makes no element, however long it is."""
    title = '<img src=x onerror="document.title=1"><b>hi</b>' + "x" * 60
    server.create_room("safe", title=title)
    window = windows(server, "Ada", viewport={"width": 320, "height": 700}).open()
    lists(window, f"{title} | safe | everyone")
    assert window.page.locator(f"{DOOR} :is(img, b)").count() == 0
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 320


# --- taking one ---------------------------------------------------------------------------------------------


def test_a_click_takes_a_room(server: Server, windows: Windows) -> None:
    """At the door a click joins, once there is a name; beside the chat it switches; a closed one says so."""
    server.create_room("tea", title="Tea")
    server.create_room("shut", title="Shut", closed=True)
    window = windows(server)
    sockets = dialled(window)
    page = window.open().page
    page.locator(DOOR).get_by_text("Shut", exact=True).click()
    window.reads("#door-room-problem", "“Shut” is closed")
    page.locator(DOOR).get_by_text("Tea", exact=True).click()
    window.reads("#door-name-problem", "something to call you")
    page.keyboard.type("Ada")
    page.locator(DOOR).get_by_text("Tea", exact=True).click()
    window.connected()
    assert page.url == f"{server.url}/?room=tea"

    server.create_room("cake", title="Cake")
    lists(window, "Cake | everyone", "Shut | closed", "Tea | everyone", at=SIDE)
    current = page.locator(f"{SIDE} [aria-current]")
    assert current.locator(".listed-title").text_content() == "Tea"
    page.locator(SIDE).get_by_text("Shut", exact=True).click()
    window.reads("#room-problem", "“Shut” is closed")
    assert page.url == f"{server.url}/?room=tea"
    page.get_by_role("list", name="All rooms").get_by_text("Cake", exact=True).click()
    window.reads("#room-name", "#cake")
    window.connected()
    assert current.locator(".listed-title").text_content() == "Cake"
    assert sockets == ["open"]  # one for both places


def test_the_keyboard_takes_a_room(server: Server, windows: Windows) -> None:
    """The arrows lead from the field through the list, which is one stop for Tab; Enter joins."""
    for name in ("alpha", "beta", "gamma"):
        server.create_room(name)
    window = windows(server, "Ada").open()
    page = window.page
    lists(window, "alpha | everyone", "beta | everyone", "gamma | everyone")
    assert page.evaluate("document.activeElement.id") == "door-room"
    page.keyboard.press("ArrowDown")
    assert focused(window) == "alpha"
    page.keyboard.press("End")
    assert focused(window) == "gamma"
    page.keyboard.press("ArrowUp")
    assert focused(window) == "beta"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Join"
    page.keyboard.press("Shift+Tab")
    assert focused(window) == "beta"  # where it was left

    server.change_room("beta", title="zeta")  # it moves, and keeps the focus
    lists(window, "alpha | everyone", "gamma | everyone", "zeta | beta | everyone")
    assert focused(window) == "zeta"
    server.django("from chat.models import Room; Room.objects.get(name='beta').delete()")
    lists(window, "alpha | everyone", "gamma | everyone")
    assert focused(window) == "gamma"
    page.keyboard.press("Enter")
    window.connected()
    assert page.url == f"{server.url}/?room=gamma"


def test_typing_narrows_hundreds_of_rooms(server: Server, windows: Windows) -> None:
    """What is typed narrows the list by title and name, which is announced; the only match can be joined."""
    server.django(
        "from chat.models import Room\n"
        "Room.objects.bulk_create(Room(name=f'r-{n}', title=f'Room {n}') for n in range(1, 601))\n"
        "Room.objects.create(name='quiet', title='Café Zoë')"
    )
    window = windows(server, "Ada")
    window.page.clock.install()
    page = window.open().page
    page.wait_for_function("(list) => document.querySelectorAll(`${list} li`).length === 601", arg=DOOR)
    titles = page.locator(f"{DOOR} .listed-title").all_text_contents()
    assert titles[:3] == ["Café Zoë", "Room 1", "Room 2"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert focused(window) == "Room 600"
    box, row = (page.locator(place).bounding_box() for place in (f"{DOOR} ul", f"{DOOR} a:focus"))
    assert box is not None
    assert row is not None
    assert box["y"] <= row["y"] <= box["y"] + box["height"] - row["height"]

    page.get_by_label("Room", exact=True).fill("ROOM 59")
    lists(window, *[f"Room {n} | r-{n} | everyone" for n in (59, *range(590, 600))])
    page.clock.run_for(1_000)
    window.page.wait_for_function(
        "(list) => document.querySelector(`${list} [role=status]`).textContent === '11 rooms match.'",
        arg=DOOR,
    )
    page.get_by_label("Room", exact=True).fill("nowhere")
    window.reads(DOOR, "No room of this list matches. A new name opens a new room.")
    page.get_by_label("Room", exact=True).fill("cafe z")  # which is no room's name
    lists(window, "Café Zoë | quiet | everyone")
    page.keyboard.press("Enter")
    window.connected()
    assert page.url == f"{server.url}/?room=quiet"


# --- the connection -----------------------------------------------------------------------------------------


def test_after_a_restart_the_list_is_as_the_rooms_are(server: Server, windows: Windows) -> None:
    """While the server is away the list stays and nothing is said; then what changed is there, in place."""
    server.create_room("alpha")
    server.create_room("beta")
    window = windows(server, "Ada")
    sockets = dialled(window)
    page = window.open().page
    lists(window, "alpha | everyone", "beta | everyone")
    page.evaluate("(list) => (window.kept = document.querySelector(`${list} li`))", DOOR)
    words = page.locator("#door").inner_text()
    server.stop()
    try:
        wait_until(lambda: page.evaluate("1") and {*sockets} == {"closed"}, "the connection's end")
        server.create_room("gamma", title="Gamma", closed=True)
        server.change_room("beta", title="Zeta")
        assert page.locator("#door").inner_text() == words
    finally:
        server.start()
    page.evaluate("dispatchEvent(new Event('online'))")  # ends a wait
    lists(window, "alpha | everyone", "Gamma | closed", "Zeta | beta | everyone")
    assert page.evaluate("(list) => window.kept === document.querySelector(`${list} li`)", DOOR)


def test_where_visitors_are_refused_there_is_no_list(windows: Windows) -> None:
    """A visitor whom the server lets nowhere sees no list, and the page does not ask again."""
    with serving(AUTH_ENABLED="true") as server:
        server.create_room("tea")
        window = windows(server, "Ada")
        window.page.clock.install()
        sockets = dialled(window)
        with window.page.expect_response(f"**{RESOURCES}") as asked:
            window.open()
        assert asked.value.status == 401
        window.page.clock.run_for(3_600_000)
        assert sockets == ["closed"]
        assert window.page.locator(DOOR).is_hidden()
        assert window.page.get_by_label("Room", exact=True).is_visible()


def test_nobody_looks_so_the_connection_ends(server: Server, windows: Windows) -> None:
    """The connection ends when the page is hidden for a minute or shows no list, and comes back with it."""
    server.create_room("tea", title="Tea")
    window = windows(server, "Ada", viewport={"width": 375, "height": 740})
    page = window.page
    page.clock.install()
    sockets = dialled(window)
    window.open()
    lists(window, "Tea | everyone")
    page.evaluate(HIDE, True)
    later(window, 55)
    assert sockets == ["open"]
    later(window, 10)
    until(window, sockets, ["closed"])
    server.change_room("tea", title="Coffee")
    page.evaluate(HIDE, False)
    lists(window, "Coffee | tea | everyone")
    assert sockets == ["closed", "open"]

    page.locator(DOOR).get_by_text("Coffee", exact=True).click()
    window.connected()
    later(window, 10)
    until(window, sockets, ["closed", "closed"])
    page.get_by_role("button", name="Rooms", exact=True).click()
    until(window, sockets, ["closed", "closed", "open"])


def test_a_refused_subscription(server: Server, windows: Windows) -> None:
    """One that may pass later is asked for again, also when it was granted before; else there is no list."""
    window = windows(server, "Ada")
    page = window.page
    page.clock.install()
    sockets = Scripted(window, welcome=False, sockets=f"**{RESOURCES}")
    window.open()

    def answer(ident: Any, **more: Any) -> None:
        sockets.dials[-1].send(json.dumps({"id": ident, "type": "response", **more}))

    def refuse(ident: Any, code: str, **details: Any) -> None:
        answer(ident, success=False, error={"code": code, "message": "no", "details": details})

    def asked(count: int) -> dict[str, Any]:
        return sockets.wait_for("subscription", count)[-1]

    row = {"id": 1, "name": "tea", "title": "", "access": "everyone", "closed": False}
    first = asked(1)
    assert first["options"] == {"snapshot": True, "sort": [{"column": "title", "direction": "asc"}]}
    refuse(first["id"], "rate_limited", retry_after=5)
    page.evaluate("0")
    page.clock.run_for(4_900)
    assert len(sockets.of("subscription")) == 1
    page.clock.run_for(1_200)
    answer(asked(2)["id"], success=True, data={"subscription_id": "s", "snapshot": [row]})
    lists(window, "tea | everyone")
    refuse(None, "unavailable", subscription_id="s")
    page.evaluate("0")
    page.clock.run_for(2_000)
    refuse(asked(3)["id"], "unauthorized")
    page.wait_for_selector(DOOR, state="hidden")
    assert len(sockets.dials) == 1
