"""The test kit (`chat.realtime.testing`) as the chat's own tests use it: paths, welcome, tables."""

import copy
import itertools
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from django.conf import settings

from chat.realtime import testing
from chat.realtime.testing import (
    LIMIT,
    Process,
    RawFrame,
    RealtimeServer,
    RedisServer,
    Response,
    User,
    default_layer,
    eventually,
    free_port,
    wait_until,
)
from chat.realtime.testing.client import matches

__all__ = [
    "LIMIT",
    "ChatServer",
    "Client",
    "Process",
    "QuietSocket",
    "RawFrame",
    "RawSocket",
    "RedisServer",
    "Response",
    "User",
    "all_heard",
    "default_layer",
    "eventually",
    "free_port",
    "on_each_worker",
    "serving_app",
    "settings_left_alone",
    "wait_until",
]

CHAT = "/api/chat-api/ws"  # the endpoint without a room

_numbers = itertools.count(1)


# manage.py in the process beside a server.
_COMMAND = """
import contextlib, io, os, sys
import manage
os.environ["CHAT_SERVER_URL"] = url
sys.argv = ["manage.py", *arguments]
out, err, status = io.StringIO(), io.StringIO(), 0
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    try:
        manage.main()
    except SystemExit as end:
        status = end.code or 0
result = [status, out.getvalue(), err.getvalue()]
"""

# Tests say more than people do; those of these limits set their own.
TALKATIVE = {"MESSAGE_RATE": "0", "BYTES_RATE": "0"}


class ChatServer(RealtimeServer):
    """A server of this project. Unless ``env`` says so, clients may send as fast as they like."""

    def __init__(
        self, redis_url: str | None = None, *, env: dict[str, str] | None = None, **options: Any
    ) -> None:
        super().__init__(redis_url, env={**TALKATIVE, **(env or {})}, **options)

    def start(self) -> Self:
        super().start()
        wait_until(self.healthy, f"health\n{self.output()}")
        return self

    def healthy(self) -> bool:
        return self.get("/api/chat-api/health")[0] == 200

    def ws(self, room: str | None = None, query: str = "") -> str:
        """The address of a room's WebSocket, or of the global one."""
        return self.websocket(CHAT + (f"/{room}" if room is not None else ""), query)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``manage`` in the process beside the server: a new one each time would take most of the time."""
        status, out, err = self.django(_COMMAND, url=self.origin, arguments=arguments)
        return subprocess.CompletedProcess(arguments, status, out, err)

    def create_room(self, name: str, members: tuple[int, ...] = (), **fields: Any) -> None:
        """A row for a room: ``title``, ``access`` (everyone, signed_in, members), ``closed``, member ids."""
        self.django(
            """
from chat.models import Room
room = Room.objects.create(name=name, **fields)
room.members.set(members)
""",
            name=name,
            members=list(members),
            fields=fields,
        )

    def change_room(self, name: str, **fields: Any) -> None:
        self.django(
            """
from chat.models import Room
room = Room.objects.get(name=name)
for key, value in fields.items():
    setattr(room, key, value)
room.save()
""",
            name=name,
            fields=fields,
        )

    def change_settings(self, **fields: Any) -> None:
        """Save the ChatSettings row with these changes; in force on every worker within 2 seconds."""
        self.django(
            """
from chat.models import ChatSettings
row = ChatSettings.load()
for key, value in fields.items():
    setattr(row, key, value)
row.save()
""",
            fields=fields,
        )


class Client(testing.Client):
    """A client of the chat's endpoints. ``welcome`` is its first frame."""

    welcome: dict[str, Any]

    @classmethod
    async def connect(cls, url: str, *, welcomed: bool = True, **options: Any) -> Self:
        """Open a socket and, unless told otherwise, read its ``welcome``."""
        client = await super().connect(url, **options)
        client.welcome = {}
        if welcomed:
            client.welcome = await client.expect(type="system", data={"event": "welcome"})
        return client

    @property
    def id(self) -> str:
        """The client id that the server gave."""
        ident: str = self.welcome["data"]["client_id"]
        return ident

    @property
    def worker(self) -> str:
        """The id of the worker that has this connection."""
        return self.id[:8]

    async def send_chat(self, content: str, **keys: Any) -> None:
        """``keys``: further ones of the message (``id``, ``room``); ``data`` is merged."""
        data = {"content": content, **keys.pop("data", {})}
        await self.send({"type": "chat", "data": data, **keys})

    async def nothing(self, **wanted: Any) -> None:
        """Prove that no unread frame matches, up to now: a ping's answer comes after all that was before.

        That is what this client's worker has heard. For what another worker may have sent, await
        ``all_heard`` first.
        """
        await self.round_trip()
        found = [frame for frame in self.unread if matches(frame, wanted)]
        assert not found, f"came, and should not have: {found}"

    async def round_trip(self) -> None:
        """Send an application ping and wait for its pong: all frames that were sent before are here."""
        number = f"round-trip-{next(_numbers)}"
        await self.send({"type": "ping", "id": number})
        await self.expect(type="pong", id=number)

    async def all(self, **wanted: Any) -> list[dict[str, Any]]:
        """Every frame, read or not, that matches and came up to now."""
        await self.round_trip()
        return [frame for frame in self.received if matches(frame, wanted)]


class RawSocket(testing.RawSocket):
    """By hand, to the chat's endpoints unless told otherwise."""

    @classmethod
    async def upgraded(cls, port: int, path: str = CHAT, **headers: str) -> Self:
        """An open WebSocket, its ``welcome`` read."""
        raw = await super().upgraded(port, path, **headers)
        await raw.read_frame()
        return raw

    async def handshake(self, path: str = CHAT, **headers: str | None) -> Response:
        return await super().handshake(path, **headers)


class QuietSocket(testing.QuietSocket):
    """Reads nothing unless told to, at the chat's endpoints unless told otherwise."""

    @classmethod
    async def upgraded(cls, port: int, path: str = CHAT) -> Self:
        return await super().upgraded(port, path)


@contextmanager
def serving_app(variables: dict[str, str]) -> Iterator[ChatServer]:
    """Two workers on a Redis of their own, with the app that these variables install, migrated."""
    redis = RedisServer().start()
    server = ChatServer(redis.url, workers=2, env=variables)
    try:
        migrated = server.manage("migrate", "--noinput", "--verbosity", "0")
        assert migrated.returncode == 0, migrated.stderr
        yield server.start()
    finally:
        server.stop()
        server.cleanup()
        redis.stop()
        redis.cleanup()


async def on_each_worker(
    server: ChatServer,
    connect: Callable[[], Awaitable[Client]],
    attempts: int = 100,
) -> list[Client]:
    """Connect by ``connect()`` until each worker has one connection: one client a worker, the others closed.

    The kernel decides which worker accepts a connection, so several may be needed.
    """
    found: dict[str, Client] = {}
    spare: list[Client] = []
    try:
        for _ in range(attempts):
            client = await connect()
            if client.worker in found:
                spare.append(client)
            else:
                found[client.worker] = client
            if len(found) == server.worker_count:
                return list(found.values())
    finally:
        for client in spare:
            await client.close()
    raise AssertionError(f"{attempts} connections reached only {len(found)} of {server.worker_count} workers")


async def all_heard(server: ChatServer, *clients: Client) -> None:
    """Wait until these clients have all that was published so far: a global message comes after it."""
    speaker = await Client.connect(server.ws())
    content = f"all-heard-{next(_numbers)}-{speaker.id}"
    await speaker.send_chat(content)
    for client in (speaker, *clients):
        await client.expect(type="chat", room=None, data={"content": content})
    await speaker.close()


@contextmanager
def settings_left_alone() -> Iterator[None]:
    """Fail when REALTIME is left changed, and change it back: those that read it next are not to fail."""
    before = copy.deepcopy(settings.REALTIME)
    yield
    changed = settings.REALTIME
    if changed != before:
        settings.REALTIME = before
        raise AssertionError(f"settings.REALTIME was changed in place: {changed}, was {before}")
