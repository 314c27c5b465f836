"""The demo page in real browser windows, on a real server."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page
from websockets.sync.client import connect

from tests.browser import Server, Windows, chromium, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("page")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def windows(browser: Browser) -> Iterator[Windows]:
    """Opens windows; at the end no page has had an error or broken the Content-Security-Policy."""
    windows = Windows(browser)
    yield windows
    windows.close()


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


def test_a_visit_by_keyboard_on_a_phone(server: Server, windows: Windows) -> None:
    """With the keyboard alone one joins, writes two lines, sends, and opens and leaves each panel."""
    bo = windows(server, "Bo").enter("keys")
    ada = windows(server, viewport={"width": 375, "height": 740})
    page = ada.open("/?room=keys").page
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    ada.connected()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    bo.hears("one\ntwo")
    assert page.input_value("#say") == ""

    focused = "document.activeElement.textContent.trim()"
    for name in ("", "Who is here", "Invite", "Rooms", "Skip to the message box"):  # "": the log itself
        page.keyboard.press("Shift+Tab")
        words = page.evaluate(focused)
        assert words.endswith(name)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "say"
    assert ada.messages() == ["one\ntwo"]
    for name, panel in (("Rooms", "rooms"), ("Who is here", "people")):
        page.get_by_role("button", name=name, exact=True).focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#{panel}.open")
        assert page.evaluate("document.activeElement.closest('.panel').id") == panel
        assert page.evaluate("document.getElementById('conversation').inert")
        page.keyboard.press("Escape")
        assert page.evaluate(focused).endswith(name)
        page.wait_for_selector(f"#{panel}", state="hidden")
    page.get_by_role("button", name="Invite", exact=True).press("Enter")
    assert page.get_by_label("Link", exact=True).input_value() == f"{server.url}/?room=keys"
    page.keyboard.press("Escape")
    assert page.locator("#invite").is_hidden()


def test_a_screen_reader_hears_what_happens(server: Server, windows: Windows) -> None:
    """Messages arrive in a polite log, each with its author; the connection's state in a status region."""
    ada = windows(server, "Ada").enter("sounds")
    bo = windows(server, "Bo").enter("sounds")
    bo.say("first")
    bo.say("second")
    ada.hears("second")
    log = ada.page.get_by_role("log", name="Messages")
    assert log.get_attribute("aria-live") == "polite"
    heard = log.aria_snapshot()
    assert heard.count("Bo") == 3  # joined, and once for each message
    assert ada.page.locator("#announcer[role=status]").text_content() == "Connected."
    assert ada.page.get_by_label("Message to #sounds").is_visible()
    assert ada.page.get_by_role("complementary", name="Who is here").is_visible()


@pytest.mark.parametrize("width", [320, 375, 720, 1280])
def test_nothing_is_wider_than_the_window(server: Server, windows: Windows, width: int) -> None:
    """Endless words, names and room names wrap or are cut; nothing scrolls sideways."""
    room = f"r{width}" + "x" * 120
    ada = windows(server, "W" * 64, viewport={"width": width, "height": 700}).enter(room)
    ada.say("A" * 400)
    ada.hears("A" * 400)
    assert ada.page.evaluate("document.documentElement.scrollWidth") <= width
    assert ada.page.evaluate("scroller.scrollWidth <= scroller.clientWidth")
    assert ada.page.locator("#send").bounding_box()["x"] < width - 40  # type: ignore[index]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(server: Server, windows: Windows, scheme: str) -> None:
    """Every pair of colours that text and its ground have is at least 4.5:1, in both schemes (WCAG AA)."""
    page = windows(server, color_scheme=scheme).open().page
    pairs = [("ink", ground) for ground in ("paper", "surface", "sunken", "bubble", "hover", "caution-wash")]
    pairs += [("ink-soft", ground) for ground in ("paper", "surface", "sunken", "bubble", "accent-wash")]
    pairs += [("accent-ink", ground) for ground in ("paper", "surface", "bubble", "accent-wash")]
    pairs += [("on-accent", "accent"), ("on-own", "own"), ("on-own-soft", "own")]
    pairs += [(tone, ground) for tone in ("problem", "caution") for ground in (f"{tone}-wash", "surface")]
    low = {pair: ratio for pair in pairs if (ratio := _contrast(page, *pair)) < 4.5}
    assert low == {}


def test_motion_stops_for_those_who_ask(server: Server, windows: Windows) -> None:
    """With reduced motion preferred nothing on the page is animated."""
    page = windows(server, reduced_motion="reduce").open().page
    moving = (
        "[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).animationName !== 'none')"
    )
    assert page.evaluate(f"{moving}.length") == 0


def test_inline_code_would_not_run(server: Server, windows: Windows) -> None:
    """The policy stops inline scripts and styles, and the page itself needs none."""
    window = windows(server).open()
    markup = window.page.content()
    assert "style=" not in markup
    assert "onclick=" not in markup
    window.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<p style='color: red'></p>");
        }"""
    )
    window.page.wait_for_function("() => violations.length === 2")
    assert window.page.evaluate("window.ran") is None
    window.page.evaluate("violations.length = 0")
    window.errors.clear()


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


def _contrast(page: Page, ink: str, ground: str) -> float:
    """The contrast ratio of two of the page's colours, as WCAG 2 defines it."""
    probe = """([ink, ground]) => {
        const element = document.createElement("p");
        document.body.append(element);
        element.style.color = `var(--${ink})`;
        element.style.backgroundColor = `var(--${ground})`;
        const { color, backgroundColor } = getComputedStyle(element);
        element.remove();
        return [color, backgroundColor].map((value) => value.match(/[\\d.]+/g).slice(0, 3).map(Number));
    }"""
    lights = [_luminance(channels) for channels in page.evaluate(probe, [ink, ground])]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def _luminance(channels: list[float]) -> float:
    linear = [
        c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
