"""Log events: one line each, fields that can't be forged, nothing secret, floods folded."""

import ast
import asyncio
import io
import json
import logging
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from chat.realtime import log
from chatproject.logs import JsonFormatter, LineFormatter
from tests.kit import Client, eventually
from tests.pages import ROOT, code, read, table

HOSTILE = [
    'ada\n2026-01-01T00:00:00.000Z ERROR chat[1] worker_died reason="all is lost"',
    "ada\r\x1b[2K\x1b[1A forged",
    "a\x9b31mb",
    "a\u2028b\u2029c\x85d",
    "\u202egnp.exe",
    '" user=1 admin="yes',
    "back\\slash\\n",
    "lone \udc80 surrogate",
    "",
]


class Lines:
    """A logger of its own, and what it has written in both formats."""

    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)
        self.logger.propagate = False
        self.logger.setLevel(logging.DEBUG)
        self.streams = (io.StringIO(), io.StringIO())
        self.handlers = [logging.StreamHandler(stream) for stream in self.streams]
        for handler, formatter in zip(self.handlers, (LineFormatter(True), JsonFormatter()), strict=True):
            handler.setFormatter(formatter)
            self.logger.addHandler(handler)

    @property
    def text(self) -> list[str]:
        """Each line after its head (time, level, logger)."""
        return [line.split("] ", 1)[1] for line in self.streams[0].getvalue().splitlines()]

    @property
    def json(self) -> list[dict]:
        return [json.loads(line) for line in self.streams[1].getvalue().split("\n") if line]


@pytest.fixture
def lines(request):
    lines = Lines(f"chat.test.{request.node.originalname}")
    yield lines
    log.flush(float("inf"))
    for handler in lines.handlers:
        lines.logger.removeHandler(handler)


# --- a line -----------------------------------------------------------------------------------------------


def test_an_event_is_its_name_and_fields(lines):
    """Text: `name key=value ...`. JSON: the same as keys, beside time, level, logger and pid."""
    log.event(
        lines.logger, logging.WARNING, "slow_consumer", room="lobby", dropped=3, seconds=0.25, user=None
    )
    assert lines.text == ["slow_consumer room=lobby dropped=3 seconds=0.25"]
    (line,) = lines.json
    assert line.pop("time").endswith("Z")
    assert isinstance(line.pop("pid"), int)
    assert line == {
        "level": "warning",
        "logger": lines.logger.name,
        "event": "slow_consumer",
        "room": "lobby",
        "dropped": 3,
        "seconds": 0.25,
    }


def test_a_connection_is_written_as_its_id_user_and_room(lines):
    """Whoever passes a connection need not pick it apart; what is given besides goes before it."""
    ada = SimpleNamespace(id="9be4", user={"id": 7, "username": "ada"}, room="lobby")
    log.event(lines.logger, logging.INFO, "joined", connection=ada)
    log.event(lines.logger, logging.INFO, "joined", connection=ada, room="tea")
    nobody = SimpleNamespace(id="9be5", user=None, room=None)
    log.event(lines.logger, logging.INFO, "joined", connection=nobody, first=True)
    assert lines.text == [
        "joined connection=9be4 user=7 room=lobby",
        "joined connection=9be4 user=7 room=tea",
        "joined connection=9be5 first=true",
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_client_text_can_not_forge_a_line(lines, text):
    """Line ends, terminal codes, separators, quotes: one line, and the value is still told apart."""
    log.event(lines.logger, logging.INFO, "named", name=text, after="x")
    written = lines.streams[0].getvalue()
    assert written.endswith("\n")
    assert written[:-1].isprintable()
    assert len(lines.text) == 1
    assert lines.text[0].startswith('named name="')
    assert lines.text[0].endswith(" after=x")
    value = lines.text[0][len('named name="') : -len('" after=x')]
    assert '"' not in value.replace("\\\\", "").replace('\\"', "")
    assert "\x1b" not in lines.streams[1].getvalue()
    assert lines.json[0]["name"] == text


@given(st.text())
def test_no_text_at_all_breaks_a_value(text):
    """A quoted value is printable, without a bare quote, and bounded."""
    shown = log.quoted(text)
    assert shown.isprintable()
    assert len(shown) <= 12 * log.LONGEST
    if not shown.startswith('"'):
        assert " " not in shown
        assert "=" not in shown
        assert '"' not in shown


def test_values_are_bounded(lines):
    """A client's longest name does not fill the log, and octets are counted, not shown."""
    log.event(lines.logger, logging.INFO, "named", name="x" * 100_000, raw=b"octets")
    assert len(lines.text[0]) < 300
    assert len(lines.json[0]["name"]) == log.LONGEST
    assert lines.json[0]["raw"] == "<6 bytes>"


@pytest.mark.parametrize("name", ["content", "token", "password", "data", "session_key", "cookie"])
def test_what_must_not_be_told_is_hidden(lines, name):
    """A field that is named like content or a secret is not written, whoever passes it."""
    log.event(lines.logger, logging.INFO, "said", **{name: "hunter2"})
    assert lines.text == [f'said {name}="(hidden)"']
    assert "hunter2" not in lines.streams[1].getvalue()


def test_a_level_that_is_off_costs_nothing(lines):
    """No text is made of the fields, and nothing is counted."""

    class Untold:
        def __str__(self) -> str:
            raise AssertionError("made into text")

    lines.logger.setLevel(logging.INFO)
    assert not log.event(lines.logger, logging.DEBUG, "opened", what=Untold())
    assert lines.text == []


def test_plain_lines_are_json_too(lines):
    """What Django or an application logs its own way is one object as well, with its traceback."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        lines.logger.exception("it %s", "failed\nbadly")
    (line,) = lines.json
    assert line["event"] == "it failed\nbadly"
    assert "ValueError: two" in line["traceback"]
    assert lines.streams[1].getvalue().count("\n") == 1


def test_fields_do_not_replace_what_the_line_says_of_itself(lines):
    """An event's own `level` or `logger` field does not pass for the line's."""
    log.event(lines.logger, logging.INFO, "odd", pid="none", time="never")
    assert isinstance(lines.json[0]["pid"], int)
    assert lines.json[0]["time"] != "never"


# --- floods -----------------------------------------------------------------------------------------------


def test_a_flood_becomes_one_line(lines):
    """20 lines of an event are written; the others are one line that says how many, when the time is over."""
    written = [log.event(lines.logger, logging.WARNING, "refused", code="room_full") for _ in range(173)]
    assert written == [True] * 20 + [False] * 153
    assert len(lines.text) == 20
    log.flush(float("inf"))
    assert lines.text[20:] == ["refused code=room_full ... 153 more in 10 s"]
    assert lines.json[20]["more"] == 153
    log.flush(float("inf"))
    assert len(lines.text) == 21


def test_other_events_are_not_hidden_by_a_flood(lines):
    """Another name, another code, another `per`: counted apart."""
    for _ in range(100):
        log.event(lines.logger, logging.WARNING, "refused", code="room_full")
    assert log.event(lines.logger, logging.WARNING, "refused", code="forbidden")
    assert log.event(lines.logger, logging.WARNING, "refused", code="room_full", per="10.0.0.1")
    assert log.event(lines.logger, logging.WARNING, "closed", code="room_full")


def test_what_was_switched_on_to_see_all_is_not_folded(lines):
    """Below INFO each line is written."""
    for _ in range(50):
        log.event(lines.logger, logging.DEBUG, "opened")
    assert len(lines.text) == 50


def test_a_window_ends_by_itself():
    """After ten seconds the next event of the kind is written again, and says first what was left out."""
    told = []
    folds = log.Folds(lambda event, more, seconds: told.append((event, more)))
    assert sum(folds.admit("key", 0.1 * n, "event") for n in range(50)) == 20
    assert not folds.admit("key", 9.9, "event")
    assert told == []
    assert folds.admit("key", 10.0, "event")
    assert told == [("event", 31)]


def test_the_table_of_floods_is_bounded():
    """However many kinds there are, 1,000 are counted; the oldest makes room, and its count is told."""
    told = []
    folds = log.Folds(lambda event, more, seconds: told.append((event, more)))
    for _ in range(30):
        folds.admit("first", 0.0, "first")
    for number in range(5000):
        folds.admit(number, 0.0, number)
        assert len(folds) <= 1000
    assert told == [("first", 10)]


# --- bugs -------------------------------------------------------------------------------------------------


def fail(why: str) -> Exception:
    try:
        raise ValueError(why)
    except ValueError as error:
        return error


def test_a_bug_is_one_line_with_its_number_and_traceback(lines):
    """The number that the client is told finds the line."""
    number = log.failure(lines.logger, "handler_failed", fail("no such order"), type="order.pay")
    assert lines.text[0].startswith(
        f"handler_failed error={number} kind=ValueError type=order.pay\\nTraceback"
    )
    assert lines.json[0]["error"] == number
    assert "no such order" in lines.json[0]["traceback"]


def test_each_number_of_a_folded_bug_can_be_found(lines):
    """A bug that comes a hundred times is written twenty times, and all numbers told are in those lines."""
    numbers = [log.failure(lines.logger, "handler_failed", fail("again")) for _ in range(100)]
    assert len(set(numbers)) == 20
    for number in numbers:
        assert any(f"error={number}" in line for line in lines.text)
    log.flush(float("inf"))
    assert lines.text[-1] == "handler_failed ... 80 more in 10 s"


def test_two_bugs_do_not_hide_each_other(lines):
    """Errors of another kind or from another line are counted apart."""
    for _ in range(100):
        log.failure(lines.logger, "handler_failed", fail("again"))
    number = log.failure(lines.logger, "handler_failed", KeyError("other"))
    assert f"error={number} kind=KeyError" in lines.text[-1]


# --- on a server ------------------------------------------------------------------------------------------


def events(server, name: str) -> list[dict]:
    """The lines of an event that a server with LOG_FORMAT=json has written."""
    found = [json.loads(line) for line in server.output().splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == name]


async def test_the_life_of_a_connection_in_the_log(start_server, own_redis, connect, room):
    """Worker started, connection opened and closed with its numbers, refused, ended by an operator, worker
    drained: one JSON object each, and nothing of what was said."""
    server = start_server(own_redis.url, env={"LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"})
    ada = server.create_user(f"ada-{room}")
    client = await connect(server.ws(room, "name=Ada"), cookie=ada.cookie)
    await client.send_chat("a secret between us", id="1")
    await client.expect(type="ack")
    other = await connect(server.ws(room))
    with pytest.raises(InvalidStatus):
        await connect(server.ws("not%40valid"))
    await client.close()
    await asyncio.to_thread(server.command, "chat_close", "--connection", other.id)
    assert (await other.closed())[0] == 4510
    await eventually(lambda: len(events(server, "closed")) == 2, "both lines")
    opened = next(line for line in events(server, "opened") if line["connection"] == client.id)
    assert (opened["user"], opened["address"]) == (ada.id, "127.0.0.1")
    assert opened["path"].endswith(f"/ws/{room}")
    closed = next(line for line in events(server, "closed") if line["connection"] == client.id)
    assert (closed["code"], closed["messages_in"], closed["level"]) == (1000, 1, "debug")
    (refused,) = events(server, "refused")
    assert (refused["code"], refused["status"], refused["level"]) == ("invalid_room", 404, "info")
    (closing,) = events(server, "closing")
    assert (closing["code"], closing["connection"], closing["level"]) == (4510, other.id, "info")
    server.stop()
    (started,), (drained,) = events(server, "worker_started"), events(server, "worker_drained")
    assert (started["worker"], drained["worker"]) == (client.worker, client.worker)
    assert "a secret" not in server.output()
    assert ada.session_key not in server.output()


async def test_a_flood_of_refusals_is_folded(start_server, own_redis):
    """A hundred refused handshakes are twenty lines and one more; the metrics have them all."""
    server = start_server(own_redis.url)
    for _ in range(100):
        with pytest.raises(InvalidStatus):
            await Client.connect(server.ws("not%40valid"))
    server.stop()
    lines = [line for line in server.output().splitlines() if "] refused code=invalid_room" in line]
    assert len(lines) == 21
    assert lines[-1].endswith("refused code=invalid_room ... 80 more in 10 s")


async def test_redis_lost_and_back(start_server, own_redis):
    """A Redis that is killed and comes back is told at WARNING and INFO, by each link once."""
    server = start_server(own_redis.url)
    await eventually(lambda: server.get("/api/chat-api/ready")[0] == 200, "both links")
    own_redis.kill()
    await eventually(lambda: "redis_lost link=" in server.output(), "the loss")
    own_redis.start()
    await eventually(lambda: server.output().count("redis_back link=") == 2, "both links")
    assert server.output().count("redis_lost link=") == 2


# --- the page ---------------------------------------------------------------------------------------------


def test_the_page_lists_all_events():
    """The table of operating.md names exactly the events that the code writes."""
    written = set()
    for path in (ROOT / "chat").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func).removeprefix("log.") if isinstance(node, ast.Call) else ""
            if called in ("event", "failure"):
                name = node.args[2 if called == "event" else 1]
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: an event's name is written out"
                written.add(name.value)
    listed = [name for cell in table(read("operating.md"), "event").column() for name in code(cell)]
    assert sorted(listed) == sorted(written)


def test_the_layer_logs_events_only():
    """No free text in `chat.realtime`: each line has a name to search for."""
    for path in (ROOT / "chat" / "realtime").rglob("*.py"):
        if path.name == "log.py" or "testing" in path.parts:
            continue
        free = re.findall(
            r"logger\.(?:debug|info|warning|error|exception|critical|log)\(.*", path.read_text()
        )
        assert free == [], path
