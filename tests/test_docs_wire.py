"""docs/wire.md and docs/compression.md: their code runs as it is printed, their figures are the code's."""

import hashlib
import json
import os
import re

import pytest

from chat.realtime.compression import deflate
from chat.realtime.config import Config
from chat.realtime.inbox import INBOX_BYTES, INBOX_MESSAGES
from chat.realtime.incoming import LAST_WORDS
from chat.realtime.outgoing import CLOSE_HANDSHAKE
from chat.realtime.reading import PIECE
from chat.realtime.testing.raw import BINARY
from tests.echo_support import Line, fragments
from tests.kit import ChatServer
from tests.pages import ROOT, blocks, code, read, table

WIRE, COMPRESSION = read("wire.md"), read("compression.md")
FILE = re.compile(r"# (\w+)/consumers\.py\n")


@pytest.fixture(scope="module")
def printed_server(tmp_path_factory):
    """A server with an app for each of the page's consumers."""
    root = tmp_path_factory.mktemp("wire")
    names = []
    for block in blocks(WIRE, "python"):
        found = FILE.match(block)
        assert found, block
        name = found[1]
        names.append(name)
        (consumer,) = re.findall(r"class (\w+)\(", block)
        (root / name).mkdir()
        (root / name / "__init__.py").touch()
        (root / name / "consumers.py").write_text(block)
        (root / name / "routing.py").write_text(
            f"from django.urls import path\nfrom {name}.consumers import {consumer}\n"
            f'websocket_urlpatterns = [path("ws/{name}", {consumer}.as_asgi())]\n'
        )
    (root / "wire_settings.py").write_text(
        f"from chatproject.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, *{names}]\n"
    )
    paths = f"{root}{os.pathsep}{ROOT}"
    env = {"PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": "wire_settings", "APP_PING_INTERVAL": "1"}
    server = ChatServer(None, env=env)
    try:
        yield server.start()
    finally:
        server.stop()
        server.cleanup()


async def test_the_uploads_consumer(printed_server):
    """A large message in pieces gets the digest of all of it."""
    line = await Line.open(printed_server, path="/ws/files")
    payload = os.urandom(300_000)
    await line.send(*fragments(BINARY, [payload[:100_000], payload[100_000:]]))
    answer = json.loads((await line.message())[1])
    assert (answer["type"], answer["data"]) == ("stored", {"sha256": hashlib.sha256(payload).hexdigest()})
    await line.close()


async def test_the_pinged_consumer(printed_server):
    """It is asked, and takes the answer."""
    line = await Line.open(printed_server, path="/ws/telemetry")
    ping = json.loads((await line.message())[1])
    assert ping["type"] == "ping"
    await line.raw.send_json({"type": "pong", "id": ping["id"]})
    assert json.loads((await line.message())[1])["type"] == "ping"  # and no error before it
    await line.close()


def test_deadlines():
    """The table's times are the code's."""
    settings = Config()
    given = table(WIRE, "what", "setting", "default")
    expected = [
        settings.handshake_timeout,
        settings.read_timeout,
        settings.write_timeout,
        CLOSE_HANDSHAKE,
        LAST_WORDS,
    ]
    assert given.column(2) == [f"{value:g} s" for value in expected]


def test_sizes():
    """What may wait, and how large a piece is."""
    where = dict(zip(table(WIRE, "where").column(), table(WIRE, "where").column(1), strict=True))
    assert where["messages that wait for a consumer"].startswith(
        f"{INBOX_MESSAGES}, or {INBOX_BYTES // 1024} KiB"
    )
    assert f"at most {PIECE:,} bytes" in WIRE
    assert f"{Config().send_buffer} (`send_buffer`)" in where["messages that wait for a slow client"]


def test_settings_of_compression():
    """Names and defaults."""
    settings = Config()
    given = table(COMPRESSION, "setting", "default")
    names = [code(cell)[0].lower() for cell in given.column()]
    assert names == ["compression", "compression_threshold", "compression_level", "compression_window"]
    shown = [cell.strip("`") for cell in given.column(1)]
    assert shown == [str(int(getattr(settings, name))) for name in names]


def test_figures_of_compression():
    """The sizes of the first table: of messages that are made of the same words, within a tenth."""
    from benchmarks.compression import chat_message

    given = table(COMPRESSION, "message, bytes", "level 1")
    for size, small, smaller in zip(given.column(), given.column(1), given.column(2), strict=True):
        message = chat_message(int(size.replace(",", "")))
        for level, told in ((1, small), (6, smaller)):
            assert len(deflate(message, level)) == pytest.approx(int(told.replace(",", "")), rel=0.1)
