"""static/chat/client.js in a real Chromium: when it comes back, what it keeps, what it tells.

The server's part is played by the test, and the page's clock stands still until the test moves it.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Error, Route

from chat.realtime.codes import comes_back
from tests.browser import Server, Windows, serving
from tests.lone_client import LoneClient, scripted

HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def imported(server: Server, windows: Windows, code: str, argument: Any = None) -> Any:
    """The value of an expression that uses what client.js exports, as ``module``."""
    page = windows(server).open("/accounts/login/").page
    script = f'async (it) => {{ const module = await import("/static/chat/client.js"); return ({code}); }}'
    return page.evaluate(script, argument)


# --- when to come back, as plain functions ------------------------------------------------------------


def test_every_close_code_has_its_rule(server: Server, windows: Windows) -> None:
    """The server's own rule (`codes.comes_back`) for every code that there can be."""
    codes = list(range(1000, 5000))
    back = imported(server, windows, "it.filter(module.comesBack)", codes)
    assert back == [code for code in codes if comes_back(code)]


def test_the_wait_grows_and_is_jittered(server: Server, windows: Windows) -> None:
    """The n-th wait is anything from 0 to base * factor**n, at most the cap."""
    code = "[0, 1, 4, 5, 5000].map((n) => [0, 0.5, 1].map((r) => module.backoffDelay(n, it ?? {}, () => r)))"
    assert imported(server, windows, code) == [
        [0, 500, 1_000],
        [0, 1_000, 2_000],
        [0, 8_000, 16_000],
        [0, 15_000, 30_000],
        [0, 15_000, 30_000],
    ]
    own = {"base": 10, "factor": 3, "cap": 100}
    assert [row[2] for row in imported(server, windows, code, own)] == [10, 30, 100, 100, 100]


def test_retry_after_is_seconds_or_a_date(server: Server, windows: Windows) -> None:
    """Both forms of Retry-After are read; what is neither asks for no wait."""
    code = 'it.map((header) => module.retryAfterMs(header, Date.parse("2024-01-15T10:30:00Z")))'
    headers = ["7", "Mon, 15 Jan 2024 10:30:09 GMT", "Mon, 15 Jan 2024 10:00:00 GMT", None, "soon", "-3"]
    assert imported(server, windows, code, headers) == [7_000, 9_000, 0, 0, 0, 0]


def test_every_status_has_its_rule(server: Server, windows: Windows) -> None:
    """What a client did wrong does not come back; what may change does, when Retry-After says."""
    code = 'it.map((status) => module.answerVerdict({status, retryAfter: "3"}, 0))'
    statuses = [0, 200, 302, 400, 401, 403, 404, 405, 408, 426, 429, 500, 502, 503]
    verdicts = imported(server, windows, code, statuses)
    stay_away = {400, 401, 403, 404, 405}
    assert [one["retry"] for one in verdicts] == [status not in stay_away for status in statuses]
    assert [one["delay"] for one in verdicts if one["retry"]] == [3_000] * 9


# --- coming back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4408, 4413, 4429])
def test_it_comes_back_after(server: Server, windows: Windows, code: int) -> None:
    """After these closes it waits, dials again, and says by `previous` who it was."""
    client, sockets = scripted(server, windows(server))
    client.open()
    sockets.dials[0].close(code=code)
    state = client.wait("reconnecting")
    assert state["why"] == {"kind": "closed", "status": code, "code": None, "message": ""}
    assert state["retryAt"] == client.run("Date.now()") + 1_000
    client.page.clock.run_for(999)
    assert len(sockets.dials) == 1
    client.page.clock.run_for(1)
    client.wait("open", 2)
    assert client.names() == ["connecting", "open", "close", "reconnecting", "connecting", "open"]
    assert "previous" not in sockets.dials[0].url
    assert sockets.dials[1].url.endswith("/lone?previous=me")


@pytest.mark.parametrize("code", [1000, 1002, 1003, 1007, 1009, 4501, 4503, 4510])
def test_it_stays_away_after(server: Server, windows: Windows, code: int) -> None:
    """After these closes it gives up at once, and dials only when it is told to."""
    client, sockets = scripted(server, windows(server))
    client.open()
    sockets.dials[0].close(code=code, reason="because")
    assert client.wait("gave_up")["why"]["message"] == "because"
    client.page.clock.run_for(3_600_000)
    client.page.evaluate(HIDE, False)
    assert len(sockets.dials) == 1
    client.run("void client.open()")
    client.wait("open", 2)


def test_waits_double_up_to_the_cap_until_a_connection_is_stable(server: Server, windows: Windows) -> None:
    """Each failure doubles the ceiling, to 30 s; 5 s of an open connection make it 1 s again, 4 s don't."""
    client, sockets = scripted(server, windows(server))
    client.open()
    sockets.close_with = 1011
    sockets.dials[0].close(code=1011)
    waits = []
    for number in range(1, 8):
        state = client.wait("reconnecting", number)
        waits.append(state["retryAt"] - client.run("Date.now()"))
        client.page.clock.run_for(waits[-1])
    assert waits == [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]

    client.wait("reconnecting", 8)
    sockets.close_with = None
    client.page.clock.run_for(30_000)
    client.wait("open", 2)
    client.page.clock.run_for(4_000)
    sockets.dials[-1].close(code=1011)
    assert client.wait("reconnecting", 9)["retryAt"] - client.run("Date.now()") == 30_000
    client.page.clock.run_for(30_000)
    client.wait("open", 3)
    client.page.clock.run_for(5_000)
    sockets.dials[-1].close(code=1011)
    assert client.wait("reconnecting", 10)["retryAt"] - client.run("Date.now()") == 1_000


def test_the_waits_are_settable_and_so_is_giving_up(server: Server, windows: Windows) -> None:
    """Base, factor and cap are options; after `attempts` failures in a row it gives up."""
    backoff = {"base": 100, "factor": 10, "cap": 5_000, "attempts": 3}
    client, sockets = scripted(server, windows(server), backoff=backoff)
    client.open()
    sockets.close_with = 1011
    sockets.dials[0].close(code=1011)
    for number, wait in enumerate([100, 1_000, 5_000], 1):
        state = client.wait("reconnecting", number)
        assert (state["attempt"], state["retryAt"] - client.run("Date.now()")) == (number, wait)
        client.page.clock.run_for(wait)
    assert client.wait("gave_up")["why"]["status"] == 1011
    client.page.clock.run_for(600_000)
    assert len(sockets.dials) == 4


def test_a_wait_that_the_server_asked_for_holds(server: Server, windows: Windows) -> None:
    """`retry_after` before a 4429 is the least; the jitter comes on top, and nothing hurries it."""
    client, sockets = scripted(server, windows(server))
    client.open()
    sockets.send("error", {"code": "rate_limited", "message": "Slowly.", "ref": None, "retry_after": 7})
    client.wait("error")
    sockets.dials[0].close(code=4429)
    state = client.wait("reconnecting")
    assert (state["retryAt"] - client.run("Date.now()"), state["mayHurry"]) == (8_000, False)
    client.run("client.hurry()")
    client.page.evaluate(HIDE, False)
    client.page.clock.run_for(6_999)
    assert len(sockets.dials) == 1
    client.page.clock.run_for(1_001)
    client.wait("open", 2)


def test_no_server_sends_a_client_away_for_ever(server: Server, windows: Windows) -> None:
    """A `retry_after` of a year is ten minutes."""
    client, sockets = scripted(server, windows(server))
    client.open()
    sockets.send("error", {"code": "rate_limited", "message": "", "ref": None, "retry_after": 31_536_000})
    client.wait("error")
    sockets.dials[0].close(code=4429)
    assert client.wait("reconnecting")["retryAt"] - client.run("Date.now()") == 601_000


def test_while_nobody_looks_it_tries_rarely(server: Server, windows: Windows) -> None:
    """Hidden, the first attempt comes as always, the next only after a minute; looked at again: at once."""
    client, sockets = scripted(server, windows(server))
    client.open()
    client.page.evaluate(HIDE, True)
    sockets.close_with = 1011
    sockets.dials[0].close(code=1011)
    client.wait("reconnecting")
    client.page.clock.run_for(1_000)
    state = client.wait("reconnecting", 2)
    assert state["retryAt"] - client.run("Date.now()") == 62_000
    client.page.clock.run_for(59_000)
    assert len(sockets.dials) == 2
    sockets.close_with = None
    client.page.evaluate(HIDE, False)
    client.wait("open", 2)
    assert len(sockets.dials) == 3


def test_without_a_network_it_waits_for_one(server: Server, windows: Windows) -> None:
    """Offline it asks for the line at once, finds it dead in 5 s, and waits; online again: it dials."""
    window = windows(server)
    client, sockets = scripted(server, window)
    client.open()
    window.context.set_offline(True)
    sockets.wait_for("ping", 1)
    client.page.clock.run_for(5_000)
    state = client.wait("reconnecting")
    assert state["why"]["kind"] == "silent"
    assert state["retryAt"] - client.run("Date.now()") == 61_000
    client.page.clock.run_for(59_000)
    assert len(sockets.dials) == 1
    window.context.set_offline(False)
    client.wait("open", 2)


# --- the heartbeat ------------------------------------------------------------------------------------


def test_a_silent_server_is_left(server: Server, windows: Windows) -> None:
    """A ping goes out every 10 s; 15 s without any frame after one end the connection."""
    client, sockets = scripted(server, windows(server))
    client.open()
    client.page.clock.run_for(500)
    ping = sockets.wait_for("ping", 1)[0]
    client.page.clock.run_for(20)
    sockets.send("pong", {}, id=ping["id"])
    assert client.wait("roundtrip") == 20
    client.page.clock.run_for(9_480)
    sockets.wait_for("ping", 2)
    client.page.clock.run_for(14_000)
    sockets.send("presence", {"status": "online"})  # any frame is a sign of life
    client.wait("message", 2)
    client.page.clock.run_for(20_000)  # the next ping is at 30 s
    assert client.names() == ["connecting", "open"]
    client.page.clock.run_for(1_000)
    assert client.wait("reconnecting")["why"]["kind"] == "silent"


def test_a_page_that_comes_back_asks_at_once(server: Server, windows: Windows) -> None:
    """Shown again, the page does not trust its line: without an answer within 5 s it is a new one."""
    client, sockets = scripted(server, windows(server))
    client.open()
    client.page.evaluate(HIDE, True)
    client.page.evaluate(HIDE, False)
    sockets.wait_for("ping", 1)
    client.page.clock.run_for(4_999)
    assert client.names() == ["connecting", "open"]
    client.page.clock.run_for(1)
    client.wait("reconnecting")


def test_a_server_that_asks_is_answered(server: Server, windows: Windows) -> None:
    """A server's `ping` gets a `pong` with the same id and data, and is nobody else's business."""
    client, sockets = scripted(server, windows(server))
    client.open()
    sockets.send("ping", {"n": 1}, id="p-7")
    assert sockets.wait_for("pong", 1) == [{"type": "pong", "id": "p-7", "data": {"n": 1}}]
    assert [one["type"] for one in client.events("message")] == ["system"]


# --- rooms --------------------------------------------------------------------------------------------


def test_rooms_are_joined_again(server: Server, windows: Windows) -> None:
    """Each reconnect joins what was joined and not left, with the same data, before the queue goes out."""
    client, sockets = scripted(server, windows(server))
    client.run("void Promise.all(['a', 'b', 'c'].map((room) => client.join(room, {password: room + room})))")
    client.open()
    asked = sockets.wait_for("join", 3)
    assert [(one["room"], one["data"]) for one in asked] == [
        (room, {"password": room * 2}) for room in ("a", "b", "c")
    ]
    for one in asked:
        sockets.send("system", {"event": "joined", "ref": one["id"]}, room=one["room"])
    client.wait("message", 4)
    client.run("client.leave('b')")
    assert sockets.wait_for("leave", 1)[0]["room"] == "b"
    sockets.send("error", {"code": "forbidden", "message": "No.", "ref": asked[2]["id"]})
    client.wait("error")
    assert client.run("client.rooms") == ["a"]

    sockets.heard.clear()
    sockets.dials[0].close(code=1001)
    client.wait("reconnecting")
    client.run("client.send({type: 'chat', room: 'a', data: {content: 'late'}})")
    client.page.clock.run_for(1_000)
    sockets.wait_for("chat", 1)
    assert [(one["type"], one["room"]) for one in sockets.heard] == [("join", "a"), ("chat", "a")]


def test_join_says_what_became_of_it(server: Server, windows: Windows) -> None:
    """The promise holds the `joined`, or the refusal; one that may pass later is asked again."""
    client, sockets = scripted(server, windows(server))
    client.open()
    client.page.evaluate(
        """() => {
            window.answers = [];
            for (const room of ["a", "b"]) {
                client.join(room).then((data) => answers.push([room, data.event]),
                                       (error) => answers.push([room, error.code, error.retryAfter]));
            }
        }"""
    )
    first, second = sockets.wait_for("join", 2)
    sockets.send("error", {"code": "room_full", "message": "", "ref": first["id"], "retry_after": 2})
    sockets.send("error", {"code": "password_required", "message": "", "ref": second["id"]})
    client.wait("error", 2)
    assert client.run("answers") == [["b", "password_required", None]]
    client.page.clock.run_for(3_000)
    again = sockets.wait_for("join", 3)[2]
    assert again["room"] == "a"
    sockets.send("system", {"event": "joined", "ref": again["id"]}, room="a")
    client.page.wait_for_function("() => answers.length === 2")
    assert client.run("answers")[1] == ["a", "joined"]


def test_a_join_that_comes_to_nothing_says_so(server: Server, windows: Windows) -> None:
    """Left before it was joined, joined anew, or the connection given up: the promise is rejected."""
    client, sockets = scripted(server, windows(server))
    client.page.evaluate(
        """() => {
            window.answers = [];
            const join = (room) => client.join(room).catch(({ code }) => answers.push(`${room} ${code}`));
            join("a"), join("b"), join("b"), client.leave("a");
        }"""
    )
    client.open()
    sockets.wait_for("join", 1)
    sockets.dials[0].close(code=4510)
    client.page.wait_for_function("() => answers.length === 3")
    assert sorted(client.run("answers")) == ["a left", "b gave_up", "b replaced"]
    client.run("void client.open()")
    assert [one["room"] for one in sockets.wait_for("join", 2)] == ["b", "b"]


def test_put_out_of_a_room_it_stays_out(server: Server, windows: Windows) -> None:
    """After `left` a room is not joined again, unless its rules could only not be checked."""
    client, sockets = scripted(server, windows(server))
    client.run("void client.join('a'), void client.join('b')")
    client.open()
    sockets.wait_for("join", 2)
    sockets.send("system", {"event": "left", "reason": "access_withdrawn"}, room="a")
    sockets.send("system", {"event": "left", "reason": "unavailable"}, room="b")
    client.wait("message", 3)
    assert client.run("client.rooms") == ["b"]
    client.page.clock.run_for(2_000)
    assert [one["room"] for one in sockets.wait_for("join", 3)] == ["a", "b", "b"]


# --- messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["refuse", "drop_oldest"])
def test_the_queue_is_bounded(server: Server, windows: Windows, overflow: str) -> None:
    """As many as `maxQueue` wait; the next is refused, or takes the oldest one's place, and it is told."""
    client, sockets = scripted(server, windows(server), maxQueue=3, overflow=overflow)
    ids = client.run("[1, 2, 3, 4].map((n) => client.send({type: 'chat', id: `m${n}`, data: {}}))")
    assert client.run("client.queued") == 3
    client.open()
    if overflow == "refuse":
        assert ids == ["m1", "m2", "m3", None]
        assert [one["id"] for one in sockets.wait_for("chat", 3)] == ["m1", "m2", "m3"]
    else:
        assert ids == ["m1", "m2", "m3", "m4"]
        assert [one["id"] for one in sockets.wait_for("chat", 3)] == ["m2", "m3", "m4"]
        failed = [one for one in client.events("delivery") if one["status"] == "failed"]
        assert [(one["id"], one["code"]) for one in failed] == [("m1", "dropped")]


def test_what_waits_can_be_taken_back(server: Server, windows: Windows) -> None:
    """A message that waits can be discarded; one that is on its way can't."""
    client, sockets = scripted(server, windows(server))
    assert client.run("[client.say('one') && client.queued, client.discard('nothing')]") == [1, False]
    assert client.run("client.discard(client.say('two'))") is True
    client.open()
    [chat] = sockets.wait_for("chat", 1)
    assert chat["data"] == {"content": "one"}
    assert client.run("client.discard(it)", chat["id"]) is False


def test_a_message_goes_its_way(server: Server, windows: Windows) -> None:
    """Queued, sent, accepted; what the connection took with it is unconfirmed, and not sent twice."""
    client, sockets = scripted(server, windows(server))
    client.run("client.send({type: 'chat', id: 'a', data: {}})")
    client.open()
    sockets.wait_for("chat", 1)
    sockets.send("ack", {"ref": "a", "id": "s"})
    client.wait("delivery", 3)
    client.run("client.send({type: 'chat', id: 'b', data: {}})")
    client.run("client.send({type: 'note', id: 'c'}, {ack: false})")
    sockets.wait_for("note", 1)
    sockets.dials[0].close(code=1006 - 5)
    client.wait("reconnecting")
    assert client.statuses() == [
        ("a", "queued"),
        ("a", "sent"),
        ("a", "accepted"),
        ("b", "sent"),
        ("c", "sent"),
        ("b", "failed"),
    ]
    assert client.events("delivery")[-1]["code"] == "unconfirmed"
    client.page.clock.run_for(1_000)
    client.wait("open", 2)
    assert [one["id"] for one in sockets.chats()] == ["a", "b"]


@pytest.mark.parametrize("code", ["unavailable", "rate_limited"])
def test_what_was_refused_for_now_is_sent_again(server: Server, windows: Windows, code: str) -> None:
    """It is kept, in order, and sent again after `retry_after`: one message first, more with each answer."""
    client, sockets = scripted(server, windows(server))
    client.open()
    for number in range(5):
        client.run("client.send({type: 'chat', id: it, data: {}})", f"m{number}")
    for chat in sockets.wait_for("chat", 5):
        sockets.send("error", {"code": code, "message": "", "ref": chat["id"], "retry_after": 2})
    client.wait("error", 5)
    pause = client.wait("paused")
    assert pause["code"] == code
    assert pause["until"] - client.run("Date.now()") == 3_000
    assert len(client.events("paused")) == 1
    assert client.run("client.queued") == 5
    sockets.heard.clear()
    client.page.clock.run_for(2_999)
    assert sockets.chats() == []
    client.page.clock.run_for(1)
    order = []
    for asked in (1, 2, 2):
        for _ in range(asked):
            [*_, chat] = sockets.wait_for("chat", len(order) + 1)[: len(order) + 1]
            order.append(chat["id"])
        for ref in order[-asked:]:
            sockets.send("ack", {"ref": ref, "id": "s"})
    assert order == [f"m{number}" for number in range(5)]
    client.page.wait_for_function("() => client.queued === 0")


def test_refused_again_it_waits_longer(server: Server, windows: Windows) -> None:
    """Each refusal in a row doubles what comes on top of `retry_after`; an answer ends that."""
    client, sockets = scripted(server, windows(server))
    client.open()
    client.run("client.say('hello')")
    for number, wait in enumerate([2_000, 3_000, 5_000], 1):
        chat = sockets.wait_for("chat", number)[-1]
        sockets.send("error", {"code": "unavailable", "message": "", "ref": chat["id"], "retry_after": 1})
        assert client.wait("paused", number)["until"] - client.run("Date.now()") == wait
        client.page.clock.run_for(wait)
    chat = sockets.wait_for("chat", 4)[-1]
    sockets.send("ack", {"ref": chat["id"], "id": "s"})
    client.wait("delivery", 8)
    client.run("client.say('again')")
    chat = sockets.wait_for("chat", 5)[-1]
    sockets.send("error", {"code": "unavailable", "message": "", "ref": chat["id"], "retry_after": 1})
    assert client.wait("paused", 4)["until"] - client.run("Date.now()") == 2_000


def test_a_message_that_is_too_big_is_not_sent(server: Server, windows: Windows) -> None:
    """What the server would close the connection for stays here, and fails."""
    client, sockets = scripted(server, windows(server))
    client.open()
    client.run("client.send({type: 'chat', id: 'big', data: {content: 'ü'.repeat(33_000)}})")
    client.run("client.send({type: 'chat', id: 'fits', data: {content: 'ü'.repeat(32_000)}})")
    assert [one["id"] for one in sockets.wait_for("chat", 1)] == ["fits"]
    assert client.statuses() == [("big", "failed"), ("fits", "sent")]
    assert client.events("delivery")[0]["code"] == "too_big"


def test_a_request_gets_its_answer(server: Server, windows: Windows) -> None:
    """request() is a promise of the `reply` or `ack`, and fails with the `error` or the connection."""
    client, sockets = scripted(server, windows(server))
    client.open()
    client.page.evaluate(
        """() => {
            window.answers = {};
            for (const id of ["a", "b", "c", "d"]) {
                client.request({ type: "ask", id, data: {} })
                    .then((data) => (answers[id] = data), (error) => (answers[id] = error.code));
            }
        }"""
    )
    sockets.wait_for("ask", 4)
    sockets.send("reply", {"sum": 3}, id="a")
    sockets.send("ack", {"ref": "b", "id": "s"})
    sockets.send("error", {"code": "forbidden", "message": "No.", "ref": "c"})
    client.wait("error")
    sockets.dials[0].close(code=1011)
    client.page.wait_for_function("() => Object.keys(answers).length === 4")
    expected = {"a": {"sum": 3}, "b": {"ref": "b", "id": "s"}, "c": "forbidden", "d": "unconfirmed"}
    assert client.run("answers") == expected


def test_a_drain_is_told(server: Server, windows: Windows) -> None:
    """`drain` comes before the close that it announces."""
    client, sockets = scripted(server, windows(server))
    client.open()
    sockets.send("system", {"event": "draining"})
    client.wait("drain")
    assert client.names() == ["connecting", "open"]


# --- for those who use it -----------------------------------------------------------------------------


def test_mistakes_are_told(server: Server, windows: Windows) -> None:
    """A misspelt option or event fails where it stands."""
    client = LoneClient(windows(server))
    codes = [
        "client.on('opne', () => {})",
        "new client.constructor('/ws', {maxQeue: 1})",
        "new client.constructor('/ws', {backoff: {bsae: 1}})",
    ]
    for code, words in zip(codes, ["event", "option", "option"], strict=True):
        with pytest.raises(Error, match=f'ChatClient has no {words} "(opne|maxQeue|bsae)"'):
            client.run(code)


@pytest.mark.parametrize("event", ["connecting", "open", "close", "delivery", "reconnecting"])
def test_a_listener_may_close(server: Server, windows: Windows, event: str) -> None:
    """Whatever it is told, a listener may call close(), and that is the end."""
    client, sockets = scripted(server, windows(server))
    client.run("void client.open()")
    client.wait("open")
    client.run("client.say('under way')")
    sockets.wait_for_chats(1)
    client.run("void client.on(it, () => client.close())", event)
    sockets.dials[0].close(code=1001)
    client.wait("close")
    client.page.clock.run_for(1_000)
    client.page.wait_for_function("() => client.state.status === 'stopped'")
    client.page.clock.run_for(60_000)
    assert len(sockets.dials) == (2 if event == "open" else 1)
    assert client.names()[-1] == {"delivery": "close"}.get(event, event)


def test_an_id_is_used_once(server: Server, windows: Windows) -> None:
    """A second message with the id of one that is under way would take its answer: it is a TypeError."""
    client = LoneClient(windows(server))
    client.run("client.send({type: 'chat', id: 'a', data: {}})")
    with pytest.raises(Error, match='A message with the id "a" is under way'):
        client.run("client.send({type: 'chat', id: 'a', data: {}})")


def test_a_listener_that_throws_costs_nothing(server: Server, windows: Windows) -> None:
    """The other listeners are called, and the connection stays."""
    client, sockets = scripted(server, windows(server))
    client.page.evaluate(
        """() => {
            window.after = 0;
            client.on("message", () => { throw new Error("on purpose"); });
            client.on("message", () => after++);
        }"""
    )
    client.open()
    sockets.send("notification", {"content": "hello"})
    client.wait("message", 2)
    assert client.run("after") == 2


def test_a_consumer_need_not_say_welcome(server: Server, windows: Windows) -> None:
    """With `welcome: false` the connection is open as soon as the socket is, and the queue goes out."""
    client, sockets = scripted(server, windows(server), welcome=False)
    client.run("client.send({type: 'ask', id: 'a'})")
    client.open()
    assert sockets.wait_for("ask", 1) == [{"type": "ask", "id": "a"}]


def test_without_a_welcome_a_handshake_is_not_done(server: Server, windows: Windows) -> None:
    """A socket that opens and says nothing within 15 s is given up, and the server asked why."""
    window = windows(server)
    refusal = {"error": {"code": "draining", "message": ""}}
    window.page.route("**/api/chat-api/ws/**", lambda route: route.fulfill(status=503, json=refusal))
    client, sockets = scripted(server, window)
    sockets.welcome = False
    client.run("void client.open()")
    client.page.clock.run_for(14_999)
    assert client.names() == ["connecting"]
    client.page.clock.run_for(1)
    assert client.wait("reconnecting")["why"] == {
        "kind": "refused",
        "status": 503,
        "code": "draining",
        "message": "",
    }


def test_protocols_that_no_browser_takes_are_told(server: Server, windows: Windows) -> None:
    """What can't be offered ends it; a function that fails, for want of a network say, is asked again."""
    client = LoneClient(windows(server), protocols=["no protocol"])
    client.run("void client.open()")
    assert client.wait("gave_up")["why"]["kind"] == "invalid"
    client.page.evaluate(
        """() => {
            const asked = [() => Promise.reject(new Error("no token today")), () => []];
            const protocols = () => asked.shift()();
            client = new client.constructor("/api/chat-api/ws/lone", { protocols, backoff: { base: 1 } });
            client.on("reconnecting", ({ why }) => log.push(["why", why]));
            client.on("open", () => log.push(["open", null]));
            client.open();
        }"""
    )
    client.wait("open")
    [why] = client.events("why")
    assert (why["kind"], why["message"]) == ("unreachable", "Error: no token today")


def test_protocols_are_asked_for_at_each_attempt(server: Server, windows: Windows) -> None:
    """A function may give a fresh token each time; the plain GET after a failure carries it, too."""
    window = windows(server)
    asked: list[str | None] = []

    def answer(route: Route) -> None:
        asked.append(route.request.headers.get("authorization"))
        route.fulfill(status=426, json={"error": {"code": "upgrade_required", "message": ""}})

    window.page.route("**/api/chat-api/ws/**", answer)
    client = LoneClient(window)
    client.page.evaluate(
        """async () => {
            let fresh = 0;
            const protocols = async () => ["chat.v1", `bearer.t${++fresh}`];
            const url = "/api/chat-api/ws/no%20room"; // refused by the server, every time
            client = new client.constructor(url, { protocols, backoff: { base: 1 } });
            client.on("reconnecting", () => log.push(["reconnecting"]));
            client.open();
        }"""
    )
    client.page.wait_for_function("() => log.length >= 3")
    client.run("client.close()")
    assert asked[:3] == ["Bearer t1", "Bearer t2", "Bearer t3"]
