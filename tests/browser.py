"""A real server and real browser windows for the tests of the demo page.

Playwright's synchronous API keeps an event loop in this thread while it runs, so Django's ORM is out of reach
here: what a test needs in the database it asks of a shell beside the server.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT = 30  # seconds for a server to answer
STOP_LIMIT = 15
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


class Server:
    """`manage.py serve` on a port that stays its own, with a database and an in-memory layer of its own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket_url = f"ws://127.0.0.1:{self.port}/api/chat-api/ws"
        self.log = directory / "server.log"
        self.environment = {
            **os.environ,
            "DEBUG": "1",
            "ENV_FILE": "",
            "REDIS_URL": "memory://",
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "1",
            "MESSAGE_RATE": "0",  # some tests say more than a person would
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.manage("migrate", "--verbosity", "0")

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def shell(self, code: str) -> None:
        """Run code beside the server, with Django set up."""
        self.manage("shell", "--verbosity", "0", "-c", code)

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "manage.py", "serve"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        wait_for(self._answers, START_LIMIT, lambda: f"the server did not start: {self.log.read_text()}")

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urlopen(f"{self.url}/api/chat-api/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def serving(directory: Path, **environment: str) -> Iterator[Server]:
    server = Server(directory, **environment)
    server.start()
    try:
        yield server
    finally:
        server.stop()


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
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    raise AssertionError("no Chromium: install the Debian package chromium")


def wait_for(condition: Callable[[], bool], limit: float, complain: Callable[[], str]) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, complain()
        time.sleep(0.05)
