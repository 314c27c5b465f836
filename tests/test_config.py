"""The settings object of the realtime layer, close codes and refusals: what is in force, and its words."""

import json

import pytest

from chat.models import ChatSettings
from chat.realtime import config, errors
from chat.realtime.codes import REASONS, CloseCode, comes_back, may_send
from chat.realtime.refusal import render


@pytest.fixture
def restored():
    """Whatever the test applies is undone."""
    before, listeners = config.current(), list(config._listeners)
    yield
    config._listeners[:] = listeners
    config.apply(**{name: getattr(before, name) for name in before.__slots__})


def test_the_defaults_are_the_contracts():
    """65,536 bytes, a buffer of 256, `close`, pings within a minute, a handshake within 15 seconds."""
    settings = config.Config()
    assert settings.max_message_bytes == 65_536
    assert settings.send_buffer == 256
    assert settings.slow_consumer_policy == "close"
    assert settings.heartbeat_interval < settings.heartbeat_timeout <= 60
    assert settings.handshake_timeout == 15


def test_the_settings_rows_defaults_are_the_same():
    """A database without a row changes nothing."""
    row, settings = ChatSettings(), config.Config()
    for name in (
        "max_message_bytes",
        "send_buffer",
        "slow_consumer_policy",
        "heartbeat_interval",
        "heartbeat_timeout",
    ):
        assert getattr(row, name) == getattr(settings, name), name


def test_a_change_is_in_force_and_listeners_are_told(restored):
    """``apply`` replaces some settings, keeps the others and tells those who asked."""
    told = []
    config.on_change(told.append)
    config.apply(send_buffer=7)
    assert config.current().send_buffer == 7
    assert config.current().max_message_bytes == 65_536
    assert told == [config.current()]


def test_an_unknown_setting_is_an_error(restored):
    """A misspelt name is a TypeError, and nothing has changed."""
    before = config.current()
    with pytest.raises(TypeError):
        config.apply(send_bufer=1)
    assert config.current() is before


def test_settings_in_force_are_not_changed_in_place():
    """The settings object is frozen: a change is a new one."""
    with pytest.raises(AttributeError):
        config.current().send_buffer = 1


# --- close codes --------------------------------------------------------------------------------------


def test_4000_to_4499_come_back_and_4500_to_4999_do_not():
    """The contract's rule, and its table."""
    for code in range(4000, 5000):
        assert comes_back(code) is (code < 4500)
    assert [code for code in range(4000) if comes_back(code)] == [1001, 1005, 1006, 1011, 1012, 1013, 1014]


def test_every_own_code_has_words():
    """What the server closes with has a reason that fits a close frame."""
    for code, words in REASONS.items():
        assert 0 < len(words.encode()) <= 123
        assert may_send(code)
    assert {code for code in CloseCode if code >= 4000} <= set(REASONS)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, -1])
def test_codes_that_may_not_be_sent(code):
    """Codes that RFC 6455 keeps off the wire are refused."""
    assert not may_send(code)


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (errors.BadRequest(), 400, "bad_request"),
        (errors.Unauthenticated(), 401, "unauthenticated"),
        (errors.Forbidden(), 403, "forbidden"),
        (errors.Forbidden(code="forbidden_origin"), 403, "forbidden_origin"),
        (errors.NotFound(code="invalid_room"), 404, "invalid_room"),
        (errors.Full(), 429, "room_full"),
        (errors.Unavailable(code="draining"), 503, "draining"),
    ],
)
def test_a_refusal_is_a_status_and_a_json_body(refusal, status, code):
    """Each refusal's status, and `error.code` and `error.message` in the body, whose length is told."""
    found, headers, body = render(refusal)
    assert found == status
    assert json.loads(body) == {"error": {"code": code, "message": refusal.message}}
    told = dict(headers)
    assert told[b"content-length"] == str(len(body)).encode()
    assert told[b"cache-control"] == b"no-store"
    assert b"retry-after" not in told


def test_a_refusal_may_say_when_to_try_again():
    """`Retry-After` is in whole seconds, never too soon."""
    _, headers, _ = render(errors.Unavailable(retry_after=1.2))
    assert dict(headers)[b"retry-after"] == b"2"
