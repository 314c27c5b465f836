"""The operator's commands, run as an operator runs them: against real servers, or none."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from chat.management import output
from tests.kit import ChatServer, RedisServer, on_each_worker, wait_until
from tests.operator_support import new_user
from tests.pages import ROOT

COMMANDS = [
    ("chat_stats",),
    ("chat_rooms",),
    ("chat_connections",),
    ("chat_close", "--room", "lobby"),
    ("chat_broadcast", "hello"),
]


def run(server: ChatServer, *arguments: str, alone: bool = False) -> str:
    """A command's standard output; it must end well and complain of nothing. ``alone``: a process for it."""
    done = _run(server, arguments, {}) if alone else server.command(*arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def complaint(server: ChatServer, *arguments: str, **env: str) -> str:
    """What a command that fails says: one line, on standard error, and nothing else."""
    return _one_line(_run(server, arguments, env))


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("CommandError: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def environment_of(server: ChatServer, **env: str) -> dict[str, str]:
    """An operator's: the server's, but for the interpreter's development mode, which has words of its own."""
    return {**server.environment, "PYTHONDEVMODE": "", "CHAT_SERVER_URL": server.origin, **env}


def complaints(redis_url: str | None = None) -> list[str]:
    """What each of the commands says where it fails: with this Redis, and no server there."""
    with stopped(redis_url) as server:
        server.port = 1  # nobody is there
        return [_one_line(server.command(*command)) for command in COMMANDS]


def _run(server: ChatServer, arguments, env) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment_of(server, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


async def arun(server: ChatServer, *arguments: str, **options) -> str:
    return await asyncio.to_thread(run, server, *arguments, **options)


@pytest.fixture(params=["redis", "memory"])
def any_server(request):
    """Over Redis with two workers, and over HTTP to the one process of the in-memory layer."""
    return request.getfixturevalue("server" if request.param == "redis" else "memory_server")


class TestStats:
    async def test_a_table(self, any_server, room, connect):
        """One line a worker, and one for all of them, in columns."""
        await connect(any_server.ws(room))
        titles, *workers, total = (await arun(any_server, "chat_stats")).splitlines()
        assert titles.split()[:5] == ["WORKER", "HOST", "PID", "STATE", "UP"]
        assert len(workers) == any_server.worker_count
        for line in workers:
            assert re.match(r"[0-9a-f]{8} +\S+ +\d+ +serving ", line)
            assert re.search(r"[\d.]+ MiB", line)
        assert re.match(r"\d+ workers? ", total)
        end = titles.index("CONNECTIONS") + len("CONNECTIONS")
        counts = [int(line[:end].split()[-1].replace(",", "")) for line in (*workers, total)]
        assert sum(counts[:-1]) == counts[-1] >= 1

    async def test_json(self, any_server, room, connect):
        """`--json` is one line, with the keys of the HTTP API."""
        await connect(any_server.ws(room))
        stats = json.loads(await arun(any_server, "chat_stats", "--json", alone=True))
        assert len(stats["workers"]) == any_server.worker_count
        assert stats["totals"]["connections"] >= 1

    def test_watch(self, server):
        """`--watch` shows it again and again; Ctrl-C ends it with status 0 and without a word."""
        with subprocess.Popen(
            [sys.executable, "manage.py", "chat_stats", "--watch", "0.1", "--json"],
            cwd=ROOT,
            env=environment_of(server),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            lines = [process.stdout.readline() for _ in range(3)]
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate(timeout=10)
        assert all(json.loads(line)["workers"] for line in lines)
        assert (process.returncode, complaints) == (0, "")

    def test_watch_without_workers(self, own_redis, start_server):
        """Who watches sees that the workers are gone, and that they are back."""
        server = start_server(own_redis.url)
        log = server.directory / "watch.log"
        with (
            log.open("w") as file,
            subprocess.Popen(
                [sys.executable, "manage.py", "chat_stats", "--watch", "0.1"],
                cwd=ROOT,
                env=environment_of(server),
                stdout=file,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            wait_until(lambda: "serving" in log.read_text(), "the table", 10)
            server.stop()
            wait_until(lambda: "No worker is running" in log.read_text(), "the complaint", 10)
            tables = log.read_text().count("serving")
            server.start()
            wait_until(lambda: log.read_text().count("serving") > tables, "the table again", 10)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0


class TestLists:
    async def test_rooms(self, any_server, room, connect):
        """Rooms come with their members."""
        await connect(any_server.ws(room))
        await connect(any_server.ws(room))
        lines = (await arun(any_server, "chat_rooms")).splitlines()
        assert lines[0].split() == ["ROOM", "MEMBERS"]
        assert [room, "2"] in [line.split() for line in lines]
        found = json.loads(await arun(any_server, "chat_rooms", "--json", alone=True))
        assert {"room": room, "members": 2} in found["rooms"]

    async def test_connections(self, any_server, room, connect):
        """Connections come with who, where, since when and how much; filters narrow them."""
        user = await asyncio.to_thread(new_user, any_server)
        guest = await connect(any_server.ws(room, "name=Ada%20L."), user_agent_header="tests")
        signed_in = await connect(any_server.ws(room), cookie=user.cookie)
        titles, *rows = (await arun(any_server, "chat_connections", "--room", room)).splitlines()
        assert titles.startswith("CONNECTION  ")
        assert {row.split()[0] for row in rows} == {guest.id, signed_in.id}
        row = next(row for row in rows if row.startswith(guest.id))
        assert re.search(rf"{room}  +-  +Ada L\.  +127\.0\.0\.1 .* tests$", row)
        rows = (await arun(any_server, "chat_connections", "--user", user.username)).splitlines()[1:]
        assert [row.split()[0] for row in rows] == [signed_in.id]
        listed = await arun(any_server, "chat_connections", "--room", room, "--json", alone=True)
        found = json.loads(listed)
        assert (found["total"], len(found["connections"])) == (2, 2)
        last = (await arun(any_server, "chat_connections", "--room", room, "--limit", "1")).splitlines()[-1]
        assert last.startswith("1 of 2 connections")

    async def test_no_match(self, any_server, room):
        """An empty list says that it is."""
        assert await arun(any_server, "chat_connections", "--room", room) == "No connection matches.\n"

    def test_nobody(self, start_server):
        """Without anybody connected, the lists say so."""
        server = start_server()
        assert run(server, "chat_rooms") == "Nobody is in a room.\n"
        assert run(server, "chat_connections") == "Nobody is connected.\n"

    async def test_hostile_text(self, server, room, open_raw):
        """What a client says of itself can't play with the terminal."""
        raw = await open_raw(server)
        hostile = "evil\x1b[2J\x07\x9b31m" + "x" * 300
        await raw.handshake(f"/api/chat-api/ws/{room}", User_Agent=hostile)
        for arguments in ((), ("--json",)):
            shown = await arun(server, "chat_connections", "--room", room, *arguments)
            assert not set(shown) & set("\x1b\x07\x9b")
            assert "evil" in shown


class TestClose:
    async def test_a_room(self, any_server, room, connect):
        """`--room` closes everybody in it, and says how many on how many workers."""
        connected = await on_each_worker(any_server, lambda: connect(any_server.ws(room)))
        said = await arun(any_server, "chat_close", "--room", room, "--reason", "Good night", alone=True)
        workers = "1 worker" if len(connected) == 1 else "2 workers"
        assert said == f"Closed {len(connected)} connection{'s'[: len(connected) - 1]} on {workers}.\n"
        for client in connected:
            assert await client.closed() == (4510, "Good night")

    async def test_a_user_and_a_connection(self, any_server, room, connect):
        """`--user` and `--connection` close these alone."""
        user = await asyncio.to_thread(new_user, any_server)
        signed_in = await connect(any_server.ws(room), cookie=user.cookie)
        guest, other = [await connect(any_server.ws(room)) for _ in range(2)]
        for option, value, client in (("user", user.username, signed_in), ("connection", guest.id, guest)):
            said = await arun(any_server, "chat_close", f"--{option}", value)
            assert said == "Closed 1 connection on 1 worker.\n"
            assert (await client.closed())[0] == 4510
        await other.round_trip()
        said = await arun(any_server, "chat_close", "--connection", guest.id)
        assert said == "No connection matches: none was closed.\n"

    async def test_all(self, start_server, connect):
        """`--all` wants a yes: without a terminal from `--yes`, else from the person."""
        server = await asyncio.to_thread(start_server)
        clients = [await connect(server.ws(name)) for name in (None, "a")]
        assert "--yes" in await asyncio.to_thread(complaint, server, "chat_close", "--all")
        said, status = await asyncio.to_thread(in_terminal, server, "n")
        assert "Close all connections (2)? [y/N]" in said
        assert "Nothing was closed" in said
        assert status == 1
        for client in clients:
            await client.round_trip()
        said, status = await asyncio.to_thread(in_terminal, server, "y")
        assert said.endswith("Closed 2 connections on 1 worker.\r\n")
        assert status == 0
        await connect(server.ws())
        assert "Closed 1 " in await arun(server, "chat_close", "--all", "--yes")


class TestBroadcast:
    async def test_words(self, any_server, room, connect):
        """Words become the content of a notification, to a room or to everybody."""
        client = await connect(any_server.ws(room))
        said = await arun(any_server, "chat_broadcast", "--room", room, "Tea <b>now</b> ä")
        frame = await client.expect(type="notification", room=room, data={"content": "Tea <b>now</b> ä"})
        assert said == f"Sent to room {room}: taken by 1 worker, message {frame['id']}.\n"
        await arun(any_server, "chat_broadcast", "To everybody", alone=True)
        await client.expect(type="notification", room=None, data={"content": "To everybody"})

    async def test_data(self, any_server, room, connect):
        """`--data` gives the whole of data, `--type` the type."""
        client = await connect(any_server.ws(room))
        data = {"event": "test", "n": [1, None]}
        await arun(
            any_server, "chat_broadcast", "--room", room, "--type", "system", "--data", json.dumps(data)
        )
        assert (await client.expect(type="system", data={"event": "test"}))["data"] == data

    async def test_to_nobody(self, server, room):
        """An announcement that nobody hears is said to be one."""
        said = await arun(server, "chat_broadcast", "--room", room, "hello")
        assert said == f"Nobody is in room {room}: nobody received it.\n"


class TestArguments:
    """What a command can't do, it says before it asks any worker."""

    @pytest.fixture(autouse=True)
    def nobody(self, monkeypatch):
        """Should one ask all the same, nobody is there."""
        monkeypatch.setenv("CHAT_SERVER_URL", "http://127.0.0.1:1")

    def said(self, *arguments: str) -> str:
        with pytest.raises(CommandError) as caught:
            call_command(*arguments)
        assert "No server answers" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize("seconds", ["0", "-1", "x", "1e9", "nan"])
    def test_watch(self, seconds):
        """`--watch` takes a sensible number of seconds."""
        assert "from 0.1 to 3600" in self.said("chat_stats", f"--watch={seconds}")

    @pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5"])
    def test_limit(self, limit):
        """`--limit` takes a whole number."""
        assert "whole number" in self.said("chat_rooms", f"--limit={limit}")

    @pytest.mark.parametrize("command", ["chat_connections", "chat_close", "chat_broadcast"])
    def test_room(self, command):
        """A room has to have a room's name."""
        assert "A room's name has" in self.said(command, "--room=a b")

    @pytest.mark.parametrize("arguments", [[], ["--all", "--room=a"], ["--user=a", "--connection=b"]])
    def test_one_target(self, arguments):
        """What to close is named exactly once."""
        assert re.search("--(room|connection)", self.said("chat_close", *arguments))

    @pytest.mark.parametrize("target", ["--room=", "--user=", "--connection="])
    def test_an_empty_target(self, target):
        """An empty target (an unset variable of a script) closes nobody."""
        self.said("chat_close", target)

    def test_a_long_reason(self):
        """A reason has to fit a close frame."""
        assert "120 bytes" in self.said("chat_close", "--room=a", "--reason", "x" * 121)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "Give the message's words"),
            (["words", "--data={}"], "Give the message's words"),
            ([" "], "empty"),
            (["--data={"], "not valid JSON"),
            (["--data=[1]"], "a JSON object"),
            (['--data={"x": NaN}'], "not valid JSON"),
            (["x" * 65_537], "65,536 bytes"),
            (["x", "--type=chat"], "invalid choice"),
        ],
    )
    def test_messages(self, arguments, words):
        """What can't be sent is refused in words."""
        assert words in self.said("chat_broadcast", *arguments)

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8000", "http://", "http://[", "file:///x"])
    def test_server_url(self, monkeypatch, url):
        """A bad CHAT_SERVER_URL is named."""
        monkeypatch.setenv("CHAT_SERVER_URL", url)
        assert "CHAT_SERVER_URL must be a URL" in self.said("chat_stats")


@contextmanager
def stopped(redis_url: str | None = None) -> Iterator[ChatServer]:
    """A server's environment without a server."""
    server = ChatServer(redis_url)
    try:
        yield server
    finally:
        server.stop()
        server.cleanup()


@pytest.fixture(scope="module")
def idle_redis() -> Iterator[RedisServer]:
    """A Redis that no worker uses."""
    redis = RedisServer().start()
    yield redis
    redis.stop()
    redis.cleanup()


class TestNobodyToAsk:
    """Where no worker can be reached, each command says what to do, and ends with status 1."""

    def test_no_redis(self):
        """Redis can't be reached; here each command is a process of its own."""
        with stopped("redis://127.0.0.1:1") as server, ThreadPoolExecutor(len(COMMANDS)) as pool:
            for said in pool.map(lambda command: complaint(server, *command), COMMANDS):
                assert "REDIS_URL" in said

    def test_no_worker(self, idle_redis):
        """Redis answers, but no worker does."""
        for said in complaints(idle_redis.url):
            assert "No worker is running" in said

    def test_no_server(self):
        """With the in-memory layer, no server answers."""
        for said in complaints():
            assert "manage.py serve" in said
            assert "CHAT_SERVER_URL" in said

    def test_another_key(self, memory_server):
        """A server with another SECRET_KEY refuses, and the command says why."""
        said = complaint(memory_server, "chat_stats", SECRET_KEY="x" * 50)
        assert "SECRET_KEY" in said


class TestOutput:
    def test_clean(self):
        """Control and formatting characters go, wide text is cut, nothing is a dash."""
        assert output.clean("a\x1b[31mb\x00\u202ec\n") == "a[31mbc"
        assert output.clean("") == output.clean(None) == "-"
        assert output.clean("x" * 50, 10) == "x" * 9 + "…"
        assert output.clean("日本語" * 5, 10) == "日本語日…"

    def test_table(self):
        """Columns are aligned, also with wide and combining characters; numbers to the right."""
        shown = output.table(("NAME", "N"), [("日本", "7"), ("e\u0301", "1,234"), ("abcdef", "1")], ("N",))
        assert shown.splitlines() == [
            "NAME        N",
            "日本        7",
            "e\u0301       1,234",
            "abcdef      1",
        ]

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(-1, "0s"), (0, "0s"), (59.9, "59s"), (200, "3m 20s"), (18_180, "5h 3m"), (187_200, "2d 4h")],
    )
    def test_duration(self, seconds, words):
        """Durations have two units at most."""
        assert output.duration(seconds) == words

    def test_units(self):
        """Sizes, numbers and counts are for people."""
        assert [output.size(n) for n in (0, 1023, 1536, 61_027_123, 3 * 2**30)] == [
            "0 B",
            "1023 B",
            "1.5 KiB",
            "58.2 MiB",
            "3.0 GiB",
        ]
        assert [output.number(n) for n in (0, 12_345, 0.25, 3.0)] == ["0", "12,345", "0.2", "3"]
        assert [output.count(n, "worker") for n in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]

    def test_since(self):
        """Moments are told as how long ago they were."""
        assert output.since("2025-01-31T10:30:00Z", datetime(2025, 1, 31, 10, 33, 20, tzinfo=UTC)) == "3m 20s"


def in_terminal(server: ChatServer, answer: str) -> tuple[str, int]:
    """Run `chat_close --all` in a terminal and type the answer: what it showed, and its status."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "manage.py", "chat_close", "--all"],
            cwd=ROOT,
            env=environment_of(server),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            os.write(ours, answer.encode() + b"\n")
            shown = b""
            while True:
                try:
                    chunk = os.read(ours, 4096)
                except OSError:  # the other end is closed: Linux says EIO
                    break
                if not chunk:
                    break
                shown += chunk
            status = process.wait(10)
    finally:
        os.close(ours)
    return shown.decode(), status
