"""A real server and real browser windows for the tests of the demo page.

Playwright's synchronous API keeps an event loop in this thread while it runs, so Django's ORM is out of reach
here: what a test needs in the database it asks of the process beside the server (``server.django``).
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, sync_playwright

from tests.kit import CHAT, ChatServer, free_port

ROOT = Path(__file__).resolve().parent.parent
SOCKETS = "**/api/chat-api/ws/**"  # every conversation's address, for Playwright's routes
WELCOME = {"event": "welcome", "client_id": "me", "limits": {"max_message_bytes": 65536}, "user": None}
WAIT = 10_000  # ms that a window gets for what should happen at once
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Collects every violation of the page's Content-Security-Policy.
WATCH_POLICY = """
window.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
    violations.push(`${violatedDirective} ${blockedURI}`);
});
"""


class Server(ChatServer):
    """`manage.py serve` on a port that stays its own, on the in-memory layer unless there is a Redis."""

    def __init__(self, redis_url: str | None = None, workers: int = 1, **environment: str) -> None:
        super().__init__(redis_url, workers=workers, settings="chatproject.settings", env=environment)
        self.port = free_port()

    @property
    def url(self) -> str:
        return self.origin

    @property
    def socket_url(self) -> str:
        return self.websocket(CHAT)


@contextmanager
def serving(redis_url: str | None = None, prepare: str = "", **options: Any) -> Iterator[Server]:
    """A server, started after the code in ``prepare`` has run: later it hears of rows a moment late."""
    server = Server(redis_url, **options)
    try:
        if prepare:
            server.django(prepare)
        yield server.start()
    finally:
        server.stop()
        server.cleanup()


class Window:
    """One browser window of one visitor, on the page."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if "Policy" in line.text else None)

    def open(self, path: str = "/") -> "Window":
        self.page.goto(self.url + path)
        return self

    def enter(self, room: str | None) -> "Window":
        """Go to a conversation by its address and wait for the connection."""
        self.open("/?everyone" if room is None else f"/?room={room}")
        return self.connected()

    def connected(self) -> "Window":
        self.page.wait_for_selector("#status[data-status=open]")
        return self

    def say(self, text: str) -> None:
        self.page.fill("#say", text)
        self.page.press("#say", "Enter")

    def hears(self, text: str) -> None:
        """Wait until the log has a message that says exactly this."""
        self.page.wait_for_function(
            "(text) => [...document.querySelectorAll('#messages .text')].some((p) => p.textContent === text)",
            arg=text,
        )

    def reads(self, selector: str, words: str) -> None:
        """Wait until an element's text has these words."""
        self.page.wait_for_function(
            "([selector, words]) => document.querySelector(selector)?.innerText.includes(words)",
            arg=[selector, words],
        )

    def messages(self) -> list[str]:
        return self.page.locator("#messages .message .text").all_text_contents()

    def lines(self) -> list[str]:
        """Comings and goings, and what the page says in the log."""
        return self.page.locator("#messages .line").all_text_contents()

    def people(self) -> list[str]:
        return self.page.locator("#people-list bdi").all_text_contents()

    def violations(self) -> list[str]:
        return list(self.page.evaluate("window.violations ?? []"))


class Windows:
    """Opens windows, and at the end says what went wrong in any of them."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.all: list[Window] = []

    def __call__(self, server: Server, name: str | None = None, **options: Any) -> Window:
        """A window of a visitor of their own; with a ``name``, one who has been here before."""
        options.setdefault("viewport", {"width": 1280, "height": 800})
        options.setdefault("reduced_motion", "reduce")  # several windows share two cores with their server
        if name is not None:
            stored = {"origin": server.url, "localStorage": [{"name": "chat.name", "value": name}]}
            options["storage_state"] = {"cookies": [], "origins": [stored]}
        context = self.browser.new_context(**options)
        context.add_init_script(WATCH_POLICY)
        window = Window(context, server.url)
        self.all.append(window)
        return window

    def close(self) -> None:
        wrong = [*self._wrong()]
        for window in self.all:
            window.context.close()
        self.all.clear()
        assert not wrong, wrong

    def _wrong(self) -> Iterator[str]:
        for window in self.all:
            yield from window.errors
            if not window.page.is_closed():
                yield from window.violations()


class Scripted:
    """Plays the server's part on a window's sockets, for what a real server does only rarely."""

    def __init__(self, window: Window, welcome: bool = True, sockets: str = SOCKETS) -> None:
        self.dials: list[WebSocketRoute] = []
        self.heard: list[dict[str, Any]] = []
        self.welcome = welcome
        self.close_with: int | None = None  # dials are closed at once, with this code
        self.page = window.page
        window.page.route_web_socket(sockets, self._dialled)

    def send(self, kind: str, data: dict[str, Any], **more: Any) -> None:
        envelope = {"id": "1", "type": kind, "room": "r", "from": None, "data": data}
        self.dials[-1].send(json.dumps({**envelope, "timestamp": "2024-01-15T10:30:00Z", **more}))

    def chats(self) -> list[dict[str, Any]]:
        return self.of("chat")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The messages of a type that the page sent so far."""
        return [frame for frame in self.heard if frame["type"] == kind]

    def _dialled(self, socket: WebSocketRoute) -> None:
        self.dials.append(socket)
        socket.on_message(lambda text: self.heard.append(json.loads(text)))
        if self.close_with is not None:
            socket.close(code=self.close_with)
        elif self.welcome:
            self.send("system", WELCOME)

    def wait_for_chats(self, count: int) -> list[dict[str, Any]]:
        return self.wait_for("chat", count)

    def wait_for(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The messages of a type that the page sent, once there are so many."""
        deadline = time.monotonic() + WAIT / 1000
        while len(self.of(kind)) < count:
            assert time.monotonic() < deadline, self.heard
            self.page.evaluate("0")  # lets the page's frames reach us
        return self.of(kind)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def chromium_path() -> str:
    """The shell is the same browser without windows of its own to draw: a page costs it a quarter."""
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    raise AssertionError("no Chromium: install the Debian package chromium")
