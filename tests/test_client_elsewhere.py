"""static/chat/client.js on pages of another site, in a real Chromium, as docs/client.md says."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page
from websockets.sync.client import ClientConnection, connect

from tests.browser import ROOT, Server, Windows, serving
from tests.pages import blocks, code, read, table

DOCS = read("client.md")


class Elsewhere:
    """A web server on a port of its own, another origin: ``pages`` are its paths, types and texts."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, str]] = {}
        self.policy: str | None = None
        elsewhere = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, text = elsewhere.pages.get(self.path, ("text/plain", ""))
                self.send_response(200)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                if elsewhere.policy is not None:
                    self.send_header("Content-Security-Policy", elsewhere.policy)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: Any) -> None:
                """Nothing to say."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Elsewhere":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def _elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as elsewhere:
        yield elsewhere


@pytest.fixture
def elsewhere(_elsewhere: Elsewhere) -> Elsewhere:
    _elsewhere.pages.clear()
    _elsewhere.policy = None
    return _elsewhere


@pytest.fixture(scope="module")
def server(_elsewhere: Elsewhere) -> Iterator[Server]:
    prepare = (
        "from django.contrib.auth import get_user_model\n"
        "get_user_model().objects.create_user('grace', password='correct-horse')\n"
        "from chat.models import Room; Room.objects.create(name='closed', closed=True)"
    )
    with serving(prepare=prepare, ALLOWED_ORIGINS=_elsewhere.url) as server:
        yield server


def on(server: Server, text: str) -> str:
    """What the page says of chat.example.com, said of a server."""
    return text.replace("https://chat.example.com", server.url).replace(
        "wss://chat.example.com", server.url.replace("http", "ws")
    )


def hear(socket: ClientConnection, words: str) -> str:
    """The next message that has these words."""
    while words not in (message := str(socket.recv(timeout=10))):
        pass
    return message


def shows(page: Page, selector: str, words: str) -> None:
    page.wait_for_function(
        "([selector, words]) => document.querySelector(selector)?.textContent.includes(words)",
        arg=[selector, words],
    )


@pytest.mark.parametrize("strict", [False, True])
def test_the_first_page(server: Server, windows: Windows, elsewhere: Elsewhere, strict: bool) -> None:
    """The first example chats from another site; also under the policy that the page names."""
    [html] = blocks(DOCS, "html")
    html = on(server, html)
    if strict:
        policy = re.search(r"`(script-src [^`]+)`", DOCS)
        assert policy
        elsewhere.policy = f"default-src 'none'; {on(server, policy[1])}"
        head, script = html.split('<script type="module">')
        elsewhere.pages["/page.js"] = ("text/javascript", script.split("</script>")[0])
        html = head + '<script type="module" src="/page.js"></script>'
    elsewhere.pages["/"] = ("text/html", html)
    page = windows(server).page
    with connect(f"{server.socket_url}/lobby") as other:
        hear(other, '"welcome"')
        page.goto(elsewhere.url)
        hear(other, '"online"')
        page.fill("input", "Hello from elsewhere")
        page.press("input", "Enter")
        shows(page, "#said", "You: Hello from elsewhere")
        other.send('{"type": "chat", "data": {"content": "Hello back"}}')
        shows(page, "#said", "Somebody: Hello back")


def test_the_second_example(server: Server, windows: Windows, elsewhere: Elsewhere) -> None:
    """The other example joins a room and speaks there, and shows that the server is away."""
    [script] = blocks(DOCS, "js")
    html = f'<!doctype html><p id="status"></p><script type="module">{on(server, script)}</script>'
    elsewhere.pages["/"] = ("text/html", html)
    with connect(f"{server.socket_url}/tea") as other:
        hear(other, '"welcome"')
        page = windows(server).page
        page.goto(elsewhere.url)
        assert '"Hello"' in hear(other, '"chat"')
        shows(page, "#status", "connected")


def ask(page: Page, url: str, token: str | None = None) -> Any:
    """What a page's client gives up with."""
    return page.evaluate(
        """async ([module, url, protocols]) => {
            const { ChatClient } = await import(module);
            const client = new ChatClient(url, { protocols });
            const { why } = await new Promise((resolve) => {
                client.on("gave_up", resolve);
                client.on("reconnecting", resolve);
                client.open();
            });
            client.close();
            return why;
        }""",
        [url[: url.index("/api/")] + "/static/chat/client.js", url, [f"bearer.{token}"] if token else []],
    )


@pytest.mark.parametrize("token", [None, "x"])
def test_a_page_elsewhere_learns_why(
    server: Server, windows: Windows, elsewhere: Elsewhere, token: str | None
) -> None:
    """A refusal is read across origins, also where the client asks with a token (a preflight comes first)."""
    page = windows(server).page
    page.goto(elsewhere.url)
    why = ask(page, f"{server.url}/api/chat-api/ws/not%20a%20room", token)
    assert (why["kind"], why["code"]) == ("refused", "unauthenticated" if token else "invalid_room")


def test_a_token_signs_in_from_elsewhere(server: Server, windows: Windows, elsewhere: Elsewhere) -> None:
    """A page of another site connects as a user, by the subprotocols that the page of the docs offers."""
    credentials = json.dumps({"username": "grace", "password": "correct-horse"}).encode()
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(f"{server.url}/api/chat-api/token", credentials, headers), timeout=10) as answer:
        token = json.load(answer)["access"]
    page = windows(server).page
    page.goto(elsewhere.url)
    [line] = [one for one in DOCS.splitlines() if "bearer.${" in one]
    expression = re.sub(r".*(\[.*\]).*", r"\1", line).replace("await freshToken()", "token")
    username = page.evaluate(
        f"""async ([base, token]) => {{
            const {{ ChatClient }} = await import(`${{base}}/static/chat/client.js`);
            const client = new ChatClient(`${{base}}/api/chat-api/ws`, {{ protocols: () => {expression} }});
            await new Promise((resolve) => client.on("open", resolve) && client.open());
            const renewed = await client.request({{ type: "auth", data: {{ token }} }});
            client.close();
            return [client.welcome.user.username, renewed.user.username];
        }}""",
        [server.url, token],
    )
    assert username == ["grace", "grace"]


def test_a_page_of_a_foreign_site_learns_that_it_is_foreign(server: Server, windows: Windows) -> None:
    """A page whose origin is not allowed gives up, and learns nothing but that."""
    with Elsewhere() as foreign:
        page = windows(server).page
        page.goto(foreign.url)
        for room in ("lobby", "closed", "not%20a%20room"):
            why = ask(page, f"{server.url}/api/chat-api/ws/{room}")
            assert (why["status"], why["code"]) == (403, "forbidden_origin")


def test_the_file_stands_alone() -> None:
    """client.js imports nothing, and is the only file that a page needs."""
    source = (ROOT / "static/chat/client.js").read_text()
    assert not re.search(r"^\s*import\b|\bimport\(", source, re.MULTILINE)


def test_the_page_names_every_option_and_event(server: Server, windows: Windows) -> None:
    """The tables of options and events are those of the code, defaults included."""
    page = windows(server).open("/accounts/login/").page
    defaults, members, events = page.evaluate(
        """async () => {
            const { ChatClient, DEFAULTS, EVENTS } = await import("/static/chat/client.js");
            const shown = (value) => typeof value === "function" ? "Math.random"
                : Number.isFinite(value) || typeof value !== "number" ? JSON.stringify(value) : `${value}`;
            const flat = (options, prefix) => Object.entries(options).flatMap(([name, value]) =>
                value?.constructor === Object ? flat(value, `${name}.`) : [[prefix + name, shown(value)]]);
            const own = new Set(Object.getOwnPropertyNames(ChatClient.prototype)).add("state").add("welcome");
            own.delete("constructor");
            return [flat(DEFAULTS, ""), [...own].sort(), [...EVENTS]];
        }"""
    )
    options = table(DOCS, "option", "default")
    assert [[code(name)[0], code(default)[0]] for name, default, _ in options.rows] == defaults
    told = [name for cell in table(DOCS, "member", "what").column() for name in re.findall(r"`(\w+)", cell)]
    assert sorted({*told} - {"new"}) == members
    assert {code(cell)[0] for cell in table(DOCS, "event", "comes with").column()} == set(events)
