"""The system checks: what breaks real deployments is said before it does."""

from datetime import timedelta

import pytest

from chat.realtime import checks
from tests.commands import PRODUCTION, manage


def ids(found):
    return [message.id for message in found]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({}, []),
        ({"daphne": "4.2.3", "autobahn": "26.7.1"}, []),
        ({"daphne": "4.2.2"}, ["chat.E001"]),
        ({"daphne": "4.1"}, ["chat.E001"]),
        ({"autobahn": "24.4.2"}, ["chat.E002"]),
        ({"daphne": "3.0.2", "autobahn": "26.6.2"}, ["chat.E001", "chat.E002"]),
    ],
)
def test_versions_with_known_holes_are_errors(monkeypatch, versions, expected):
    """A daphne or autobahn below the security floor is an error that names the version to install."""
    installed = checks.version
    monkeypatch.setattr(checks, "version", lambda name: versions.get(name) or installed(name))
    assert ids(checks.check_versions(None)) == expected


@pytest.mark.parametrize(
    ("hosts", "origins", "expected"),
    [
        (["chat.example.com"], [], []),
        ([], ["https://www.example.com"], []),
        ([], [], ["chat.E004"]),
        (["*"], [], ["chat.W005"]),
        (["*"], ["https://www.example.com"], []),
        (["chat.example.com"], ["*"], ["chat.W005"]),
    ],
)
def test_no_origin_and_every_origin_are_told(settings, hosts, origins, expected):
    """Some page must be allowed to connect, and not every page."""
    settings.ALLOWED_HOSTS, settings.ALLOWED_ORIGINS = hosts, origins
    assert ids(checks.check_origins(None)) == expected


@pytest.mark.parametrize(
    ("key", "algorithm", "lifetime", "in_query", "expected"),
    [
        ("k" * 32, "HS256", 900, False, []),
        ("k" * 31, "HS256", 900, False, ["chat.E020"]),
        ("k" * 31, "RS256", 900, False, []),
        ("ü" * 16, "HS256", 86_400, False, []),
        ("k" * 32, "HS256", 86_401, False, ["chat.W022"]),
        ("k" * 32, "HS256", 900, True, ["chat.W021"]),
    ],
)
def test_unsafe_tokens_are_told(settings, key, algorithm, lifetime, in_query, expected):
    """A key that can be guessed, tokens in URLs, and tokens that live for more than a day."""
    settings.TOKEN_IN_QUERY = in_query
    settings.SIMPLE_JWT = {
        "ALGORITHM": algorithm,
        "SIGNING_KEY": key,
        "ACCESS_TOKEN_LIFETIME": timedelta(seconds=lifetime),
    }
    assert ids(checks.check_tokens(None)) == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", []),  # Redis' own default
        ("pubsub 0 0 0", []),
        ("pubsub 1048576 0 0", ["chat.W007"]),
        ("pubsub 33554432 65536 10", ["chat.W007"]),
        ("normal 0 0 0", []),
        ("", []),
    ],
)
def test_a_small_output_buffer_is_told(limit, expected):
    """A pub/sub buffer that cuts a worker off after a burst is a warning with the command that mends it."""
    assert ids(checks._check_buffer(limit)) == expected


def test_a_running_redis_is_looked_at(settings, own_redis):
    """`check --deploy` asks Redis for its real limit, and says when nobody answers."""
    settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [{"address": own_redis.url}]}}}
    assert checks.check_redis(None) == []
    with own_redis.client() as client:
        client.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
    assert ids(checks.check_redis(None)) == ["chat.W007"]
    own_redis.stop()
    assert ids(checks.check_redis(None)) == ["chat.E006"]


def test_several_workers_without_redis_do_not_start():
    """The in-memory layer with two workers stops `serve` with one line."""
    done = manage("serve", "--workers", "2", "--port", "0", DEBUG="1", REDIS_URL="memory://")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: WEB_CONCURRENCY is 2, but the in-memory channel layer")
    assert "Traceback" not in done.stderr


def test_production_does_not_start_without_redis():
    """`serve` says that Redis can't be reached, in one line; `migrate` and `check` run without it."""
    done = manage("serve", "--port", "0", **PRODUCTION)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: Redis can't be reached: ConnectionError.")
    assert "Traceback" not in done.stderr
    assert manage("check", **PRODUCTION).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--workers", "0"], "--workers must be 1 to 64"),
        (["--port", "70000"], "--port must be 0 to 65535"),
        (["--shutdown-timeout", "0"], "--shutdown-timeout must be more than 0 seconds"),
        (["--ping-interval", "-1"], "--ping-interval must be more than 0 seconds"),
        (["--bind", "192.0.2.1", "--port", "0"], "Can't listen on 192.0.2.1:0"),
        (["--unix-socket", "/nowhere/socket"], "Can't listen on /nowhere/socket"),
        (["--access-log", "/nowhere/log", "--port", "0"], "--access-log"),
    ],
)
def test_a_wrong_option_of_serve_is_one_line(arguments, line):
    """Options that can't be are refused before anything starts."""
    done = manage("serve", *arguments, DEBUG="1", REDIS_URL="memory://")
    assert done.returncode == 1
    assert line in done.stderr
    assert "Traceback" not in done.stderr
