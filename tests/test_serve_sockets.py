"""Where `manage.py serve` can listen, and which Redis it can reach."""

import json
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import websockets

from tests.commands import ROOT, manage
from tests.kit import eventually


@pytest.fixture
def place():
    """A short path: a UNIX socket's name has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="chat-") as path:
        yield Path(path)


def serve(path: Path, redis_url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--unix-socket", str(path)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "ENV_FILE": "", "DEBUG": "1", "REDIS_URL": redis_url},
        stderr=subprocess.DEVNULL,
    )


def redis_at(path: Path) -> subprocess.Popen[bytes]:
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


async def test_a_unix_socket_serves_http_and_websockets(place, redis):
    """`serve --unix-socket` chats like a port; a socket that nobody listens on any more is replaced."""
    path = place / "chat.sock"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
    process = serve(path, redis.url)
    try:

        async def connected():
            try:
                return await websockets.unix_connect(str(path), uri="ws://localhost/api/chat-api/ws/tea")
            except OSError:
                return None

        ada = await eventually(connected, "a server on the UNIX socket", 15)
        assert json.loads(await ada.recv())["data"]["event"] == "welcome"
        await ada.send(json.dumps({"type": "chat", "data": {"content": "hello"}}))
        assert json.loads(await ada.recv())["data"]["content"] == "hello"
        await ada.close()
    finally:
        process.terminate()
        assert process.wait(15) == 0


def test_another_file_is_not_replaced_by_a_socket(place):
    """`--unix-socket` with the name of an ordinary file is refused, and the file stays."""
    path = place / "precious.txt"
    path.write_text("mine")
    done = manage("serve", "--unix-socket", str(path), DEBUG="1", REDIS_URL="memory://")
    assert done.returncode == 1
    assert "Can't listen on" in done.stderr
    assert path.read_text() == "mine"


async def test_redis_may_be_a_unix_socket(place, start_server, connect, room):
    """REDIS_URL=unix://… connects the workers."""
    path = place / "redis.sock"
    process = redis_at(path)
    try:
        await eventually(lambda: path.exists() and stat.S_ISSOCK(path.stat().st_mode), "a Redis socket", 10)
        server = start_server(f"unix://{path}", workers=2)
        ada, bob = await connect(server.ws(room)), await connect(server.ws(room))
        await ada.send_chat("hello")
        await bob.expect(type="chat")
    finally:
        process.terminate()
        process.wait(10)
