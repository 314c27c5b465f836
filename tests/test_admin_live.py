"""The admin's live page: on real servers with two workers, with and without JavaScript, in Chromium."""

import asyncio
import re
from collections import deque
from collections.abc import Iterator
from html import unescape
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect as connect_now

from tests.browser import WATCH_POLICY
from tests.kit import ChatServer, on_each_worker
from tests.operator_support import CSRF, new_user

LIVE = "/admin/chat/live/"
HOSTILE = "<script>alert(1)</script>"


class Operator:
    """Somebody in the admin, without JavaScript."""

    def __init__(self, server: ChatServer, *permissions: str, **fields: bool) -> None:
        self.server = server
        self.user = new_user(server, **{"is_staff": True, **fields})
        server.django(
            """
from django.contrib.auth.models import Permission, User
found = Permission.objects.filter(content_type__app_label="chat", codename__in=permissions)
User.objects.get(pk=pk).user_permissions.set(found)
""",
            pk=self.user.id,
            permissions=permissions,
        )
        self.messages = ""  # Django's cookie of words that the next page shows

    @property
    def cookie(self) -> str:
        return f"{self.user.cookie}; csrftoken={CSRF}; {self.messages}"

    def get(self, path: str = LIVE) -> tuple[int, str]:
        status, _, body = self.server.get(path, Cookie=self.cookie)
        self.messages = ""
        return status, body.decode()

    def post(self, path: str, csrf: bool = True, **fields) -> tuple[int, dict[str, str], str]:
        token = {"csrfmiddlewaretoken": CSRF} if csrf else {}
        status, headers, body = self.server.request(
            "POST",
            path,
            urlencode({**token, **fields}, doseq=True).encode(),
            Cookie=self.cookie,
            Content_Type="application/x-www-form-urlencoded",
        )
        if headers.get("set-cookie", "").startswith("messages="):
            self.messages = headers["set-cookie"].partition(";")[0]
        return status, headers, body.decode()

    def rows(self, **query: str) -> list[str]:
        """The ids of the connections that the page lists."""
        status, page = self.get(f"{LIVE}now/?{urlencode(query)}")
        assert status == 200
        return re.findall(r'name="connection" value="(\w+)"', page)

    def log(self) -> list[str]:
        """What the admin's log says that this operator did."""
        return self.server.django(
            """
from django.contrib.admin.models import LogEntry
result = [e.change_message for e in LogEntry.objects.filter(user=pk, content_type__model="live")]
""",
            pk=self.user.id,
        )


def words(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


@pytest.fixture
def operator(server) -> Operator:
    """Somebody who may see and manage what is live."""
    return Operator(server, "view_live", "manage_live")


class TestWhoMay:
    @pytest.mark.parametrize("path", [LIVE, f"{LIVE}now/", f"{LIVE}close/", f"{LIVE}announce/"])
    @pytest.mark.parametrize("permissions", [(), ("manage_live",)])
    def test_see_nothing_of_it(self, server, path, permissions):
        """Staff without view_live see none of it: no page, no part of it, no link."""
        operator = Operator(server, *permissions)
        assert operator.get(path)[0] == 403
        assert operator.post(path)[0] == 403
        assert "live" not in operator.get("/admin/")[1].lower()

    def test_not_staff(self, server):
        """Who is not staff is sent to the sign-in page."""
        operator = Operator(server, "view_live", is_staff=False)
        status, headers, _ = server.get(LIVE, Cookie=operator.cookie)
        assert (status, headers["location"].split("?")[0]) == (302, "/admin/login/")

    async def test_see_only(self, server, room, connect):
        """With view_live alone there is the page, but no way to close or announce."""
        client = await connect(server.ws(room))
        operator = await asyncio.to_thread(Operator, server, "view_live")
        status, page = operator.get(f"{LIVE}?room={room}")
        assert status == 200
        assert client.id in page
        assert '<form method="post"' not in page.split('id="content-main"')[1]
        assert "Close selected" not in page
        assert operator.post(f"{LIVE}close/", connection=client.id, confirmed="yes")[0] == 403
        assert operator.post(f"{LIVE}announce/", text="x")[0] == 403
        await client.round_trip()

    def test_the_link(self, operator):
        """The admin's start page leads there."""
        assert f'href="{LIVE}"' in operator.get("/admin/")[1]

    def test_superusers(self, server):
        """Superusers need no permission."""
        assert Operator(server, is_superuser=True).get()[0] == 200

    async def test_csrf(self, server, operator, room, connect):
        """Without the CSRF token nothing is closed."""
        client = await connect(server.ws(room))
        posted = {"connection": client.id, "confirmed": "yes"}
        assert operator.post(f"{LIVE}close/", csrf=False, **posted)[0] == 403
        await client.round_trip()


class TestWhatIsThere:
    async def test_everything(self, server, operator, room, connect):
        """Workers, rooms and connections are there, on all workers, with their figures."""
        user = await asyncio.to_thread(new_user, server)
        guest = await connect(server.ws(room, "name=Ada"), user_agent_header="browser 1.0")
        signed_in = await connect(server.ws(room, "name=Bo"), cookie=user.cookie)
        for client in await on_each_worker(server, lambda: connect(server.ws())):
            assert client.id in operator.rows(q=client.id)
        page = operator.get(f"{LIVE}?room={room}")[1]
        for text in (guest.id, signed_in.id, "browser 1.0", "127.0.0.1", guest.worker):
            assert text in page
        shown = words(page)
        assert "Ada (guest)" in shown
        assert f"{user.username} as Bo" in shown
        assert "2 connections" in shown
        assert f'<option value="{room}">' in page

    async def test_hostile_text(self, server, operator, room, connect):
        """What clients say of themselves is text, and short."""
        client = await connect(
            server.ws(room, "name=" + HOSTILE.replace("/", "%2F")), user_agent_header=f"{HOSTILE}{'x' * 150}"
        )
        for path in (LIVE, f"{LIVE}now/"):
            page = operator.get(f"{path}?room={room}")[1]
            assert HOSTILE not in page
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        posted = {"connection": client.id}
        assert HOSTILE not in operator.post(f"{LIVE}close/", **posted)[2]
        query = urlencode({"room": HOSTILE, "user": HOSTILE, "q": HOSTILE, "worker": HOSTILE, "o": HOSTILE})
        assert HOSTILE not in operator.get(f"{LIVE}?{query}")[1]

    async def test_filters(self, server, operator, room, connect):
        """Room, user, worker and text each narrow the list, and all of them together."""
        user = await asyncio.to_thread(new_user, server)
        ada = await connect(server.ws(room, "name=Ada%20Lovelace"), user_agent_header="Engine")
        signed_in = await connect(server.ws(room), cookie=user.cookie)
        other = await connect(server.ws(f"{room}-other", "name=Ada"))
        assert set(operator.rows(room=room)) == {ada.id, signed_in.id}
        assert operator.rows(user=user.username) == operator.rows(user=str(user.id)) == [signed_in.id]
        assert operator.rows(room=room, q="lovelace") == [ada.id]
        assert operator.rows(room=room, q="engine") == [ada.id]
        assert operator.rows(q=other.id) == [other.id]
        here = [client.id for client in (ada, signed_in) if client.worker == ada.worker]
        assert set(operator.rows(room=room, worker=ada.worker)) == set(here)
        assert operator.rows(room=f"{room}-empty") == []
        assert "No connection matches the filter." in operator.get(f"{LIVE}?room={room}-empty")[1]

    async def test_order(self, server, operator, room, connect):
        """The list can be sorted by each column, both ways; an unknown one counts as not given."""
        names = ["Cy", "Ada", "Bo"]
        by_name = {name: await connect(server.ws(room, f"name={name}")) for name in names}
        ids = [by_name[name].id for name in sorted(names)]
        assert operator.rows(room=room, o="user") == ids
        assert operator.rows(room=room, o="-user") == ids[::-1]
        for _ in range(3):
            await by_name["Bo"].send_chat("x")
        await by_name["Bo"].round_trip()
        assert operator.rows(room=room, o="-in")[0] == by_name["Bo"].id
        for column in ("room", "address", "connected", "active", "queue", "out"):
            assert len(operator.rows(room=room, o=column)) == 3
        assert set(operator.rows(room=room, o="id; DROP TABLE")) == set(ids)

    async def test_pages(self, server, operator, room, connect):
        """More than 50 connections are on several pages."""
        for _ in range(51):
            await connect(server.ws(room))
        first = operator.rows(room=room, o="active")
        second = operator.rows(room=room, o="active", page="2")
        assert (len(first), len(second)) == (50, 1)
        assert not set(first) & set(second)
        assert operator.rows(room=room, o="active", page="99") == second
        page = operator.get(f"{LIVE}?room={room}")[1]
        assert f'href="?room={room}&amp;page=2"' in page
        assert "51 connections" in words(page)

    def test_nobody(self, start_server):
        """An empty server says that it is."""
        shown = words(Operator(start_server(), "view_live").get()[1])
        assert "Nobody is connected." in shown
        assert "Nobody is in a room." in shown

    def test_without_redis(self, own_redis, start_server):
        """Without Redis the page is there, and says why it is empty; closing says that nothing was closed."""
        operator = Operator(start_server(own_redis.url), "view_live", "manage_live")
        own_redis.kill()
        assert "The workers can’t be reached: Redis does not answer." in words(operator.get()[1])
        status, headers, _ = operator.post(f"{LIVE}close/", room="lobby", confirmed="yes")
        assert status == 302
        assert "Nothing was closed." in words(operator.get(headers["location"])[1])
        assert operator.log() == []


class TestClosing:
    async def test_without_javascript(self, server, operator, room, connect):
        """Select, confirm with a reason, done: on all workers, with a count, and logged."""
        clients = await on_each_worker(server, lambda: connect(server.ws(room, "name=Ada")))
        other = await connect(server.ws(room))
        chosen = {"connection": [client.id for client in clients], "query": f"room={room}"}
        status, _, page = operator.post(f"{LIVE}close/", **chosen)
        assert status == 200
        assert "Close 2 connections?" in words(page)
        assert words(page).count("Ada in") == 2
        for client in clients:
            await client.round_trip()
        status, headers, _ = operator.post(f"{LIVE}close/", confirmed="yes", reason="Good night", **chosen)
        assert (status, headers["location"]) == (302, f"{LIVE}?room={room}")
        for client in clients:
            assert await client.closed() == (4510, "Good night")
        await other.round_trip()
        shown = words(operator.get(headers["location"])[1])
        assert "Closed 2 connections on 2 workers." in shown
        (logged,) = operator.log()
        assert logged.startswith("Closed 2 connections on 2 workers. Of: ")
        assert clients[0].id in logged
        assert "Reason: Good night" in logged

    async def test_a_whole_room(self, server, operator, room, connect):
        """Everybody in a room, after a confirmation that says how many."""
        clients = [await connect(server.ws(room)) for _ in range(3)]
        assert "Close everybody in this room…" in operator.get(f"{LIVE}?room={room}")[1]
        assert "Close 3 connections?" in words(operator.post(f"{LIVE}close/", room=room)[2])
        operator.post(f"{LIVE}close/", room=room, confirmed="yes")
        for client in clients:
            assert (await client.closed())[0] == 4510
        assert f"Of: room {room}." in operator.log()[0]

    def test_nothing_selected(self, operator):
        """Without a selection the page says what to do."""
        status, headers, _ = operator.post(f"{LIVE}close/")
        assert status == 302
        assert "Select the connections to close first." in words(operator.get(headers["location"])[1])

    @pytest.mark.parametrize("confirmed", [{}, {"confirmed": "yes"}])
    def test_gone_already(self, operator, confirmed):
        """What is gone can't be closed, and that is said."""
        _, headers, _ = operator.post(f"{LIVE}close/", connection="0" * 32, **confirmed)
        assert "none was closed" in words(operator.get(headers["location"])[1])

    async def test_a_long_reason(self, server, operator, room, connect):
        """A reason that does not fit a close frame is refused in words."""
        client = await connect(server.ws(room))
        status, _, page = operator.post(
            f"{LIVE}close/", connection=client.id, confirmed="yes", reason="ä" * 61
        )
        assert status == 200
        assert "Must not be longer than 120 bytes." in words(page)
        await client.round_trip()


class TestAnnouncing:
    async def test_to_a_room_and_to_everybody(self, server, operator, room, connect):
        """An announcement comes as a notification, with a count, and is logged."""
        inside, outside = await connect(server.ws(room)), await connect(server.ws())
        text = "Tea & <b>cake</b>"
        _, headers, _ = operator.post(f"{LIVE}announce/", room=room, text=text)
        await inside.expect(type="notification", room=room, data={"content": text})
        await outside.nothing(type="notification", room=room)
        shown = operator.get(headers["location"])[1]
        assert f"Announced to room {room}: taken by 1 worker." in words(shown)
        assert "<b>cake</b>" not in shown
        operator.post(f"{LIVE}announce/", room="", text=text)
        for client in (inside, outside):
            await client.expect(type="notification", room=None, data={"content": text})
        assert [text in entry for entry in operator.log()] == [True, True]

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"text": ""}, "This field is required."),
            ({"text": "x", "room": "a b"}, "digits and . _ : - only"),
            ({"text": "x" * 2001}, "at most 2000 characters"),
        ],
    )
    def test_errors(self, operator, fields, error):
        """What is wrong is said, and what was written stays."""
        status, _, page = operator.post(f"{LIVE}announce/", **fields)
        assert status == 200
        assert error in words(page)
        assert f">{fields['text']}</textarea>" in page.replace("\n", "")
        assert operator.log() == []

    def test_to_nobody(self, operator, room):
        """An announcement that nobody heard is said to be one, and not logged."""
        _, headers, _ = operator.post(f"{LIVE}announce/", room=room, text="x")
        assert f"Nobody is in room {room}" in words(operator.get(headers["location"])[1])
        assert operator.log() == []


class TestInBrowser:
    @pytest.fixture
    def page(self, server, operator, browser) -> Iterator[Page]:
        """Chromium with the operator's session; no script error, nothing against the content policy."""
        context = browser.new_context(base_url=server.origin, viewport={"width": 1280, "height": 900})
        context.add_init_script(WATCH_POLICY)
        context.add_cookies([{"name": "sessionid", "value": operator.user.session_key, "url": server.origin}])
        page = context.new_page()
        page.set_default_timeout(10_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        page.wait_for_load_state("networkidle")
        violations = page.evaluate("window.violations")
        context.close()
        assert (errors, violations) == ([], [])

    def test_it_keeps_itself_live(self, server, page, room):
        """Who comes and goes appears and disappears without a reload; ticks and focus stay."""
        with connect_now(server.ws(room, "name=Ada"), proxy=None):
            page.goto(f"{LIVE}?room={room}")
            box = page.get_by_role("checkbox", name="Select Ada")
            box.check()
            box.focus()
            with connect_now(server.ws(room, "name=Bo"), proxy=None):
                page.get_by_text("Bo (guest)").wait_for()
                assert box.is_checked()
                assert box.evaluate("(box) => box === document.activeElement")
                assert not page.get_by_role("checkbox", name="Select Bo").is_checked()
                page.get_by_role("checkbox", name="Select all on this page").check()
                assert page.get_by_role("checkbox", name="Select Bo").is_checked()
            page.get_by_text("Bo (guest)").wait_for(state="detached")
            assert page.evaluate("document.documentElement.scrollWidth") == 1280

    def test_pause(self, server, page, room):
        """Paused, the page stays as it is; going on, it catches up."""
        page.goto(f"{LIVE}?room={room}")
        page.get_by_role("button", name="Pause").click()
        with connect_now(server.ws(room, "name=Ada"), proxy=None):
            page.get_by_text("Paused.").wait_for()
            assert page.get_by_text("Ada (guest)").count() == 0
            page.get_by_role("button", name="Go on").click()
            page.get_by_text("Ada (guest)").wait_for()

    def test_closing(self, server, page, room):
        """From a tick to a closed connection, by mouse."""
        with connect_now(server.ws(room, "name=Ada"), proxy=None) as client:
            page.goto(f"{LIVE}?room={room}")
            page.get_by_role("checkbox", name="Select Ada").check()
            page.get_by_role("button", name="Close selected…").click()
            page.get_by_label("Reason").fill("Good night")
            page.get_by_role("button", name="Yes, close").click()
            page.get_by_text("Closed 1 connection on 1 worker.", exact=True).wait_for()
            with pytest.raises(ConnectionClosedError) as closed:
                deque(client)  # reads to the end
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4510, "Good night")

    def test_signed_out(self, server, page, room):
        """When the session ends, the page says so and stops asking."""
        page.goto(f"{LIVE}?room={room}")
        page.context.clear_cookies()
        page.get_by_text("You are signed out").wait_for()
        assert page.url.endswith(f"?room={room}")

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_themes(self, server, page, room, scheme):
        """The page's own parts take the admin's colours, light and dark."""
        page.emulate_media(color_scheme=scheme)
        with connect_now(server.ws(room, "name=Ada"), proxy=None):
            page.goto(f"{LIVE}?room={room}")
            colours = page.evaluate(
                """() => [".live-totals dd", ".live-totals div", "#live-connections td"].map((selector) => {
                    const style = getComputedStyle(document.querySelector(selector));
                    return [style.color, style.backgroundColor];
                })"""
            )
        number, box, cell = colours
        assert number[0] == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)")
        assert box[1] == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 18, 18)")
        assert cell[0] == ("rgb(51, 51, 51)" if scheme == "light" else "rgb(238, 238, 238)")
