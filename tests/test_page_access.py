"""The demo page for everybody: by keyboard and by ear, on any width, in light and dark, no inline code."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser import Server, Windows, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


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
    moving = (
        "[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).animationName !== 'none')"
    )
    for preference, moves in (("no-preference", True), ("reduce", False)):
        page = windows(server, reduced_motion=preference).open().page
        assert page.evaluate(f"{moving}.length > 0") is moves


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
