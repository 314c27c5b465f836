"""docs/protocol.md and the code say the same: addresses, codes, types, limits, and examples as they come."""

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings

from chat.api.serializers import BroadcastSerializer
from chat.consumers import MAX_NAME, ChatConsumer
from chat.live import Policy
from chat.presence import MAX_LISTED
from chat.realtime import errors
from chat.realtime.allowance import MOST_REFUSED
from chat.realtime.codes import CloseCode, comes_back
from chat.realtime.config import Config
from chat.realtime.envelope import MAX_DEPTH, MAX_ID_LENGTH, decode, encode
from tests.pages import ROOT, blocks, code, read, table

PAGE = read("protocol.md")
EXAMPLES = [json.loads(block) for block in blocks(PAGE, "json")]
CLASSES = {name: item for name, item in vars(errors).items() if isinstance(item, type)}
# What a socket meets; the HTTP API, the admin and the commands have answers of their own.
MODULES = [
    path
    for folder in (ROOT / "chat", ROOT / "chat" / "realtime")
    for path in folder.glob("*.py")
    if path.name != "probes.py"
]


def calls() -> Iterator[tuple[ast.Call, ast.Module]]:
    for path in MODULES:
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                yield node, module


def constants(node: ast.expr, module: ast.Module) -> list[Any]:
    """The values that an expression may have: a constant, or what a function of the module returns."""
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        for function in module.body:
            if isinstance(function, ast.FunctionDef) and function.name == node.func.id:
                returns = [part for part in ast.walk(function) if isinstance(part, ast.Return)]
                return [
                    branch.value
                    for part in returns
                    if isinstance(part.value, ast.IfExp)
                    for branch in (part.value.body, part.value.orelse)
                    if isinstance(branch, ast.Constant)
                ]
    return []


def raised(base: type) -> set[tuple[int | None, str]]:
    """(status, code) of every error of a kind that the code makes."""
    found = set()
    for call, module in calls():
        kind = CLASSES.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if kind is None or not issubclass(kind, base):
            continue
        given = {word.arg: constants(word.value, module) for word in call.keywords}
        for said in given.get("code", [kind.code]):
            status = given.get("status", [getattr(kind, "status", None)])[0]
            found.add((status, said))
    return found


def test_refusals():
    """The table of refusals has each status and code that a handshake can get, and no other."""
    told = {
        (int(status), said)
        for row in table(PAGE, "status", "code").rows
        for status in row[0].split(", ")
        for said in code(row[1])
    }
    assert told == raised(errors.Refused)


def test_error_codes():
    """The table of errors has each code that an `error` message can have, and no other."""
    told = {said for cell in table(PAGE, "code of an `error`").column() for said in code(cell)}
    kinds = (errors.EnvelopeError, errors.LayerUnavailable, errors.RateLimited)
    made = {said for kind in kinds for _, said in raised(kind)}
    # A `join` is refused as a handshake for that room would be.
    of_a_join = {"forbidden", "invalid_room", "password_required", "rate_limited", "room_full"}
    assert of_a_join <= {said for _, said in raised(errors.Refused)}
    assert told == made | of_a_join | {errors.RealtimeError.code}  # the last is a handler's bug


def test_close_codes():
    """The table of close codes has each one that goes over the wire, and who may come back."""
    rows = table(PAGE, "code", "meaning").rows
    never_sent = {CloseCode.NO_STATUS, CloseCode.ABNORMAL}
    assert [int(row[0]) for row in rows] == sorted(set(CloseCode) - never_sent)
    for row in rows:
        assert comes_back(int(row[0])) == row[2].startswith("yes"), row
    assert comes_back(CloseCode.ABNORMAL)
    assert comes_back(CloseCode.NO_STATUS)


def test_what_a_client_sends():
    """The table of a client's messages has the types that a handler takes."""
    told = [said for cell in table(PAGE, "type", "keys").column() for said in code(cell)]
    assert sorted(told) == sorted(ChatConsumer.handlers)


def test_what_a_server_sends():
    """The table of a server's messages has the types that the code sends, and those an operator may."""
    told = {said for cell in table(PAGE, "type", "when").column() for said in code(cell)}
    makers = ("encode", "envelope.encode", "self.reply")
    made = {
        call.args[0].value
        for call, _ in calls()
        if ast.unparse(call.func) in makers and call.args and isinstance(call.args[0], ast.Constant)
    }
    assert told == made | set(BroadcastSerializer().fields["type"].choices)


def test_limits():
    """The table of limits has the values in force."""
    config, limits = Config(), settings.REALTIME["LIMITS"]
    expected = [
        config.max_message_bytes,
        limits["message_rate"],
        limits["message_burst"],
        limits["bytes_rate"],
        MOST_REFUSED,
        config.send_buffer,
        config.heartbeat_interval,
        config.heartbeat_timeout,
        config.read_timeout,
        config.write_timeout,
        config.handshake_timeout,
        config.handler_timeout,
        MAX_DEPTH,
        MAX_ID_LENGTH,
    ]
    assert table(PAGE, "limit", "value").column(1) == [
        f"{value:,}" if isinstance(value, int) else f"{value:g}" for value in expected
    ]
    assert f"1 to {MAX_NAME} characters" in PAGE
    assert f"up to {MAX_LISTED} of" in PAGE
    assert f"rooms up to {Policy().presence_limit} members" in PAGE


def test_addresses(memory_server):
    """The addresses of the table are WebSockets."""
    for cell in table(PAGE, "address", "for").column():
        for address in code(cell):
            assert memory_server.get(address.replace("{room}", "tea"))[0] == 426, address


# --- the examples ---------------------------------------------------------------------------------


def example(kind: str, **data: Any) -> dict[str, Any]:
    """The one example with this type and these keys in its data."""
    found = [
        one
        for one in EXAMPLES
        if one.get("type") == kind and "timestamp" in one and data.items() <= one["data"].items()
    ]
    assert len(found) == 1
    return found[0]


def shape(value: Any) -> Any:
    """Keys, however deep, without the values."""
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else None


def test_examples_of_a_client():
    """The messages that a client is shown to send are taken."""
    sent = [one for one in EXAMPLES if "type" in one and "timestamp" not in one]
    assert sent
    for one in sent:
        assert decode(json.dumps(one)).type in ChatConsumer.handlers


@pytest.mark.parametrize("kind", ["chat", "system", "error"])
def test_examples_have_the_keys_of_a_message(kind):
    """The messages that a server is shown to send have the keys, in the order, in which they are written."""
    shown = next(one for one in EXAMPLES if one.get("type") == kind and "timestamp" in one)
    user = shown.get("user")
    written = json.loads(encode(kind, shown["data"], room=shown["room"], sender=shown["from"], user=user)[1])
    assert list(shown) == list(written)


async def test_the_welcome(memory_server, connect, room):
    """A real welcome has the keys of the one that is shown, and its limits."""
    real = (await connect(memory_server.ws(room))).welcome
    shown = example("system", event="welcome")
    assert shape(real) == shape(shown)
    rate = {"message_rate": settings.REALTIME["LIMITS"]["message_rate"]}  # the tests' servers have none
    assert real["data"]["limits"] | rate == shown["data"]["limits"]
    assert real["data"]["heartbeat"] == shown["data"]["heartbeat"]


async def test_the_error(memory_server, connect):
    """A message that is no JSON is answered with the error that is shown."""
    client = await connect(memory_server.ws())
    await client.send("no JSON")
    assert (await client.expect(type="error"))["data"] == example("error")["data"]


def test_the_refusal(memory_server):
    """A room's name that is none is refused with the body that is shown."""
    shown = next(one for one in EXAMPLES if "error" in one)
    assert json.loads(memory_server.get("/api/chat-api/ws/no%20room")[2]) == shown
