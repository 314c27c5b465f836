"""The ground: settings from the environment, what a wrong one says, and production's defaults."""

import io
import logging
import sys

import pytest
from django.test import Client, RequestFactory

from chatproject.logs import LineFormatter
from chatproject.static import StaticFilesMiddleware
from tests.commands import PRODUCTION, ROOT, manage, settings_of
from tests.environment import OURS

# --- a bad value stops the start with one line ----------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"WEB_CONCURRENCY": "many"}, 'WEB_CONCURRENCY must be a whole number from 1 to 64, not "many"'),
        ({"WEB_CONCURRENCY": "0"}, 'WEB_CONCURRENCY must be a whole number from 1 to 64, not "0"'),
        ({"PORT": "65536"}, 'PORT must be a whole number from 0 to 65535, not "65536"'),
        ({"AUTH_ENABLED": "maybe"}, 'AUTH_ENABLED must be 1 or 0 (or true or false), not "maybe"'),
        ({"DEBUG": "*"}, 'DEBUG must be 1 or 0 (or true or false), not "*"'),
        (
            {"LOG_LEVEL": "loud"},
            'LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL, not "LOUD"',
        ),
        ({"LOG_FORMAT": "xml"}, 'LOG_FORMAT must be one of TEXT, JSON, not "XML"'),
        (
            {"TIME_ZONE": "../etc/passwd"},
            'TIME_ZONE must be the name of a time zone, like "Europe/Berlin", not "../etc/passwd"',
        ),
        (
            {"ALLOWED_HOSTS": "https://chat.example.com"},
            "ALLOWED_HOSTS must list host names without scheme or port, like chat.example.com, "
            'not "https://chat.example.com"',
        ),
        (
            {"ALLOWED_ORIGINS": "chat.example.com"},
            "ALLOWED_ORIGINS must list origins like https://chat.example.com or http://localhost:8000, "
            'not "chat.example.com"',
        ),
        (
            {"REDIS_URL": "memory://"},
            "REDIS_URL must name a Redis: memory:// is for development, with DEBUG=1",
        ),
        (
            {"SECRET_KEY": ""},
            "SECRET_KEY must be set to a long random text that stays the same "
            "(with DEBUG=1 one is made for you)",
        ),
        (
            {"ALLOWED_HOSTS": ""},
            "ALLOWED_HOSTS must be set to the host names of this service, separated by commas",
        ),
    ],
)
def test_a_bad_value_stops_the_start_with_one_line_that_names_it(variables, line):
    """Whatever the command, a bad or missing value ends it with status 1 and that one line."""
    done = manage("migrate", **PRODUCTION | variables)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"ImproperlyConfigured: {line}\n"


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_a_bad_url_is_not_repeated(name):
    """A URL may hold a password, so the line about a bad one does not show it."""
    done = manage("check", **PRODUCTION | {name: "mysql://chat:hunter2@db/chat"})
    assert done.returncode == 1
    assert done.stderr.startswith(f"ImproperlyConfigured: {name} must be a URL like ")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr


# --- which channel layer --------------------------------------------------------------------------


def test_an_explicit_redis_url_is_never_replaced():
    """In development too, a Redis that is named and does not answer stays the one."""
    layer = settings_of("CHANNEL_LAYERS", DEBUG="1", REDIS_URL="redis://127.0.0.1:1/2")["CHANNEL_LAYERS"]
    assert layer["default"]["BACKEND"] == "chat.realtime.layers.RedisLayer"
    assert layer["default"]["CONFIG"]["hosts"][0]["address"] == "redis://127.0.0.1:1/2"


def test_production_takes_redis_on_this_machine_by_default():
    """Without REDIS_URL production never falls back to memory."""
    layer = settings_of("CHANNEL_LAYERS", **PRODUCTION | {"REDIS_URL": ""})["CHANNEL_LAYERS"]
    assert layer["default"]["CONFIG"]["hosts"][0]["address"] == "redis://localhost:6379"


def test_memory_may_be_asked_for_in_development():
    """`memory://` asks for the in-memory layer even where a Redis runs."""
    layer = settings_of("CHANNEL_LAYERS", DEBUG="1", REDIS_URL="memory://")["CHANNEL_LAYERS"]
    assert layer == {"default": {"BACKEND": "chat.realtime.layers.MemoryLayer"}}


# --- limits ---------------------------------------------------------------------------------------


def test_limits_come_from_the_environment():
    """Each variable sets the limit of its name; 0 is no limit; the rest suits a public chat."""
    given = {"MESSAGE_RATE": "7", "MAX_CONNECTIONS": "0", "MAX_ROOMS_PER_CONNECTION": "3"}
    limits = settings_of("REALTIME", DEBUG="1", **given)["REALTIME"]["LIMITS"]
    assert limits == {
        "max_connections": 0,
        "max_connections_per_worker": 0,
        "max_connections_per_address": 5_000,
        "max_connections_per_user": 100,
        "connect_rate": 500,
        "max_rooms": 3,
        "message_rate": 7,
        "message_burst": 100,
        "user_message_rate": 0,
        "user_message_burst": 200,
        "bytes_rate": 262_144,
    }


# --- production -----------------------------------------------------------------------------------


def test_production_is_the_default_and_safe():
    """With a key and hosts alone: no debug, only HTTPS, every interface, no belief in forwarded headers."""
    assert settings_of(
        "DEBUG",
        "HOST",
        "PORT",
        "WEB_CONCURRENCY",
        "AUTH_ENABLED",
        "ALLOWED_ORIGINS",
        "SECURE_SSL_REDIRECT",
        "SECURE_HSTS_SECONDS",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
        "TRUSTED_PROXIES",
        "SECURE_PROXY_SSL_HEADER",
        **PRODUCTION,
    ) == {
        "DEBUG": False,
        "HOST": "0.0.0.0",
        "PORT": 8000,
        "WEB_CONCURRENCY": 1,
        "AUTH_ENABLED": False,
        "ALLOWED_ORIGINS": [],
        "SECURE_SSL_REDIRECT": True,
        "SECURE_HSTS_SECONDS": 31536000,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "TRUSTED_PROXIES": 0,
        "SECURE_PROXY_SSL_HEADER": None,
    }


def test_plain_http_is_one_variable_away():
    """HTTPS_ONLY=0 is enough for a service on a private network."""
    assert settings_of(
        "SECURE_SSL_REDIRECT",
        "SECURE_HSTS_SECONDS",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
        HTTPS_ONLY="0",
        **PRODUCTION,
    ) == {
        "SECURE_SSL_REDIRECT": False,
        "SECURE_HSTS_SECONDS": 0,
        "SESSION_COOKIE_SECURE": False,
        "CSRF_COOKIE_SECURE": False,
    }


def test_development_listens_to_this_machine_alone():
    """DEBUG=1 serves plain HTTP on the loopback address, for local names."""
    assert settings_of("HOST", "ALLOWED_HOSTS", "SECURE_SSL_REDIRECT", DEBUG="1", SECRET_KEY="x" * 50) == {
        "HOST": "127.0.0.1",
        "ALLOWED_HOSTS": ["localhost", "127.0.0.1", "[::1]"],
        "SECURE_SSL_REDIRECT": False,
    }


def test_a_trusted_proxy_may_say_that_it_ended_tls():
    """Only with TRUSTED_PROXIES is X-Forwarded-Proto believed."""
    found = settings_of("SECURE_PROXY_SSL_HEADER", TRUSTED_PROXIES="1", **PRODUCTION)
    assert found == {"SECURE_PROXY_SSL_HEADER": ["HTTP_X_FORWARDED_PROTO", "https"]}


def test_the_environment_goes_before_the_env_file(tmp_path):
    """Lines of the file fill in what the environment does not say."""
    file = tmp_path / "chat.env"
    file.write_text("# comment\nPORT=9001\nexport TIME_ZONE='Europe/Berlin'\nWEB_CONCURRENCY=3\n")
    assert settings_of(
        "PORT", "TIME_ZONE", "WEB_CONCURRENCY", **PRODUCTION | {"ENV_FILE": str(file), "WEB_CONCURRENCY": "2"}
    ) == {"PORT": 9001, "TIME_ZONE": "Europe/Berlin", "WEB_CONCURRENCY": 2}


def test_building_a_release_needs_no_redis(tmp_path):
    """migrate and collectstatic run in production settings while Redis is away."""
    production = PRODUCTION | {"DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3"}
    done = manage("migrate", "--noinput", **production)
    assert done.returncode == 0, done.stderr
    done = manage("collectstatic", "--noinput", "--dry-run", **production)
    assert done.returncode == 0, done.stderr


# --- every variable is documented -----------------------------------------------------------------


def test_every_variable_is_in_the_readme():
    """The README's table names each variable that the settings read, and the tests clear each of them."""
    source = (ROOT / "chatproject" / "settings.py").read_text()
    readme = (ROOT / "README.md").read_text()
    read = set()
    for line in source.splitlines():
        if "env." in line and '("' in line:
            read.update(part.split('"')[1] for part in line.split("env.")[1:] if '("' in part)
    assert len(read) >= 16
    assert not {name for name in read if f"`{name}`" not in readme}
    assert read - {"DEBUG", "REDIS_URL"} == set(OURS)


# --- static files ---------------------------------------------------------------------------------


def test_a_static_file_is_served_whole_and_from_the_browsers_copy():
    """The admin's style comes with its type; asked again with what it said of itself, it is 304 and empty."""
    middleware = StaticFilesMiddleware(lambda request: None)
    url = "/static/admin/css/base.css"
    response = middleware(RequestFactory().get(url))
    assert response.status_code == 200
    assert not response.streaming
    assert response["Content-Type"].startswith("text/css")
    assert int(response["Content-Length"]) == len(response.content) > 1000
    again = middleware(RequestFactory().get(url, headers={"If-Modified-Since": response["Last-Modified"]}))
    assert again.status_code == 304
    assert again.content == b""
    assert middleware(RequestFactory().head(url)).content == b""
    part = middleware(RequestFactory().get(url, headers={"Range": "bytes=0-9"}))
    assert (part.status_code, part.content) == (206, response.content[:10])


@pytest.mark.parametrize("url", ["/static/../manage.py", "/static/%2e%2e/manage.py", "/static//etc/passwd"])
def test_nothing_outside_is_static(url):
    """A path that climbs out of the static directories is none."""
    middleware = StaticFilesMiddleware(lambda request: None)
    request = RequestFactory().get("/")
    request.path_info = url
    assert middleware(request) is None


# --- log lines ------------------------------------------------------------------------------------


def test_a_refused_request_is_one_short_line():
    """A scanner with a wrong Host header costs a line, not a traceback."""
    stream = io.StringIO()
    handlers = logging.getLogger().handlers
    ours = next(handler for handler in handlers if isinstance(handler.formatter, LineFormatter))
    previous = ours.setStream(stream)
    try:
        response = Client(headers={"host": "scanner.example"}).get("/")
    finally:
        ours.setStream(previous)
    assert response.status_code == 400
    assert stream.getvalue().count("\n") == 1
    assert " ERROR django.security.DisallowedHost[" in stream.getvalue()


def test_an_event_is_one_line_whatever_its_text():
    """Line ends and terminal codes in the text are escaped, and a folded traceback stays on the line."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        error = sys.exc_info()
    record = logging.LogRecord(
        "chat.test", logging.WARNING, __file__, 1, "said %s", ("a\r\nb\x1b[2J\u2028é",), error
    )
    record.created, record.msecs = 0.25, 250.0
    folded = LineFormatter(fold_tracebacks=True).format(record)
    head = f"1970-01-01T00:00:00.250Z WARNING chat.test[{record.process}] said a\\r\\nb\\x1b[2J\\u2028é"
    assert folded.startswith(head + "\\nTraceback")
    assert folded.isprintable()
    unfolded = LineFormatter().format(record).splitlines()
    assert unfolded[0] == head
    assert unfolded[1].startswith("Traceback")
