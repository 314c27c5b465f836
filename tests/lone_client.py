"""static/chat/client.js alone: in a browser page, without the chat's page around it."""

from typing import Any

from tests.browser import Scripted, Server, Window

ROOM = "/api/chat-api/ws/lone"

# The page's side: every event of the client goes into `log`, as [name, detail].
MAKE = """async ([url, options]) => {
    const { ChatClient } = await import("/static/chat/client.js");
    window.log = [];
    window.client = new ChatClient(url, { ...options, random: options.random ? Math.random : () => 1 });
    const names = ["connecting", "open", "reconnecting", "gave_up", "close", "message", "error", "drain",
                   "delivery", "paused", "roundtrip"];
    for (const name of names) client.on(name, (detail) => log.push([name, structuredClone(detail)]));
}"""


class LoneClient:
    """A ``ChatClient`` in a window of its own; its random is 1, so a wait is as long as it may be,
    or with ``random=True`` a real one."""

    def __init__(self, window: Window, url: str = ROOM, **options: Any) -> None:
        self.page = window.page
        self.page.goto(f"{window.url}/accounts/login/")  # a page that has no client of its own
        self.page.evaluate(MAKE, [url, options])

    def run(self, code: str, argument: Any = None) -> Any:
        """Evaluate an expression, in which ``client`` is the client and ``it`` the argument."""
        return self.page.evaluate(f"(it) => ({code})", argument)

    def open(self) -> "LoneClient":
        self.run("void client.open()")
        self.wait("open")
        return self

    def events(self, name: str) -> list[Any]:
        """What came with each event of this name so far."""
        return [detail for kind, detail in self.page.evaluate("log") if kind == name]

    def names(self) -> list[str]:
        """The names of the connection's events, in order."""
        ours = {"connecting", "open", "reconnecting", "gave_up", "close"}
        return [kind for kind, _ in self.page.evaluate("log") if kind in ours]

    def wait(self, name: str, count: int = 1) -> Any:
        """Wait until there were so many events of a name; the last one's detail."""
        self.page.wait_for_function(
            "([name, count]) => log.filter(([kind]) => kind === name).length >= count", arg=[name, count]
        )
        return self.events(name)[count - 1]

    def statuses(self) -> list[tuple[str, str]]:
        """(id, status) of each `delivery`."""
        return [(one["id"], one["status"]) for one in self.events("delivery")]


def scripted(server: Server, window: Window, **options: Any) -> tuple[LoneClient, Scripted]:
    """A client whose server is the test, with the page's clock standing still until it is moved."""
    window.page.clock.install(time=0)
    window.page.clock.pause_at(1_000)
    sockets = Scripted(window, welcome=options.get("welcome", True))
    return LoneClient(window, **options), sockets
