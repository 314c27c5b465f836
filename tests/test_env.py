"""Reading environment variables: what is accepted, what is refused, and what becomes of it."""

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.exceptions import ImproperlyConfigured

from chatproject import env, secret

# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes", "on", " on "])
def test_a_flag_is_true_for_each_word_for_it(monkeypatch, value):
    """1, true, yes and on switch on."""
    monkeypatch.setenv("CHAT_TEST", value)
    assert env.flag("CHAT_TEST", False) is True


@pytest.mark.parametrize("value", ["0", "false", "No", "off"])
def test_a_flag_is_false_for_each_word_for_it(monkeypatch, value):
    """0, false, no and off switch off."""
    monkeypatch.setenv("CHAT_TEST", value)
    assert env.flag("CHAT_TEST", True) is False


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_the_same_as_none(monkeypatch, value):
    """`NAME=` leaves the default."""
    monkeypatch.setenv("CHAT_TEST", value)
    assert env.text("CHAT_TEST", "default") == "default"
    assert env.flag("CHAT_TEST", True) is True
    assert env.whole("CHAT_TEST", 7, 1, 9) == 7
    assert env.hosts("CHAT_TEST") == env.origins("CHAT_TEST") == []
    assert env.redis_url("CHAT_TEST") == ""


@pytest.mark.parametrize("value", ["-1", "1.5", "1e3", "٣", "0x10", "1 2", "99999999999999999999"])
def test_a_whole_number_is_plain_digits_within_its_range(monkeypatch, value):
    """Signs, fractions, exponents, other alphabets' digits and endless numbers are refused."""
    monkeypatch.setenv("CHAT_TEST", value)
    with pytest.raises(ImproperlyConfigured, match="must be a whole number from 0 to 100"):
        env.whole("CHAT_TEST", 7, 0, 100)


def test_a_long_bad_value_is_cut(monkeypatch):
    """The one line stays readable."""
    monkeypatch.setenv("CHAT_TEST", "x" * 5000)
    with pytest.raises(ImproperlyConfigured) as caught:
        env.flag("CHAT_TEST", False)
    assert len(str(caught.value)) < 200


def test_hosts_are_read_as_django_takes_them(monkeypatch):
    """Names, a domain with its subdomains, addresses and `*`, separated by commas or spaces."""
    monkeypatch.setenv("CHAT_TEST", "chat.example.com,.example.org 10.0.0.1, [::1] *")
    assert env.hosts("CHAT_TEST") == ["chat.example.com", ".example.org", "10.0.0.1", "[::1]", "*"]


def test_origins_are_written_as_browsers_send_them(monkeypatch):
    """Lower case, and without the port that the scheme has anyway."""
    monkeypatch.setenv("CHAT_TEST", "HTTPS://Chat.Example.com:443 http://localhost:8000,http://[::1]:80")
    assert env.origins("CHAT_TEST") == ["https://chat.example.com", "http://localhost:8000", "http://[::1]"]


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "https://*.example.com",
        "https://a.example/",
        "https://a.example/path",
        "https://a.example?x",
        "https://user@a.example",
        "wss://a.example",
        "https://",
        "https://a.example:99999",
        "https://[::1",
        "null",
    ],
)
def test_what_is_not_one_exact_origin_is_refused(monkeypatch, value):
    """No wildcard, path, user, other scheme or broken port."""
    monkeypatch.setenv("CHAT_TEST", value)
    with pytest.raises(ImproperlyConfigured, match="CHAT_TEST must list origins like"):
        env.origins("CHAT_TEST")


@pytest.mark.parametrize(
    "value",
    [
        "redis://localhost",
        "redis://user:p%40ss@redis.example:6380/3",
        "rediss://:secret@[::1]:6379/0?ssl_cert_reqs=required",
        "unix:///run/redis/redis.sock?db=1",
        "memory://",
    ],
)
def test_a_redis_url_stays_as_it_is(monkeypatch, value):
    """What redis-py understands is passed on unchanged."""
    monkeypatch.setenv("CHAT_TEST", value)
    assert env.redis_url("CHAT_TEST") == value


@pytest.mark.parametrize(
    "value",
    [
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis://h:port",
        "redis://h/name",
        "redis://h:0",
        "unix://",
    ],
)
def test_what_redis_would_not_understand_is_refused(monkeypatch, value):
    """Another scheme, no host, a port or a database that is no number."""
    monkeypatch.setenv("CHAT_TEST", value)
    with pytest.raises(ImproperlyConfigured, match="CHAT_TEST must be a URL like redis://"):
        env.redis_url("CHAT_TEST")


def test_sqlite_waits_for_writers_and_reads_beside_them(monkeypatch, tmp_path):
    """A relative file starts at the project; WAL, immediate transactions and a busy timeout are set."""
    monkeypatch.delenv("CHAT_TEST", raising=False)
    database = env.database("CHAT_TEST", "sqlite:///db.sqlite3", tmp_path)
    assert database["ENGINE"] == "django.db.backends.sqlite3"
    assert database["NAME"] == str(tmp_path / "db.sqlite3")
    assert "journal_mode=WAL" in database["OPTIONS"]["init_command"]
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert database["OPTIONS"]["timeout"] == 5
    monkeypatch.setenv("CHAT_TEST", "sqlite:////var/lib/chat/chat.db?timeout=20")
    database = env.database("CHAT_TEST", "", tmp_path)
    assert database["NAME"] == "/var/lib/chat/chat.db"
    assert database["OPTIONS"]["timeout"] == 20


def test_postgresql_has_deadlines_and_a_pool(monkeypatch, tmp_path):
    """Connecting, waiting for a free connection and every statement have a limit; the URL may change it."""
    monkeypatch.setenv(
        "CHAT_TEST", "postgres://chat:p%40ss@db.example:5433/chat?sslmode=require&connect_timeout=2"
    )
    database = env.database("CHAT_TEST", "", tmp_path)
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["USER"], database["PASSWORD"], database["NAME"]) == ("chat", "p@ss", "chat")
    assert (database["HOST"], database["PORT"]) == ("db.example", 5433)
    assert database["CONN_HEALTH_CHECKS"] is True
    options = database["OPTIONS"]
    assert options["sslmode"] == "require"
    assert options["connect_timeout"] == 2
    assert options["pool"]["timeout"] == 5
    assert "statement_timeout" in options["options"]


@pytest.mark.parametrize(
    "value",
    ["mysql://db/chat", "db.sqlite3", "postgres://db", "postgres://db:port/chat", "sqlite://:memory:"],
)
def test_a_database_url_must_be_usable(monkeypatch, tmp_path, value):
    """Another kind of database, no name, a bad port, or one that threads can't share is refused."""
    monkeypatch.setenv("CHAT_TEST", value)
    with pytest.raises(ImproperlyConfigured, match="CHAT_TEST must"):
        env.database("CHAT_TEST", "", tmp_path)


# --- the secret key of a development machine ------------------------------------------------------


def test_a_missing_key_is_made_once_and_kept_for_the_owner_alone(tmp_path):
    """Processes that start together all get the one key, in a file of mode 600, and nothing else is left."""
    path = tmp_path / "key"
    barrier = threading.Barrier(8)
    keys = []

    def start() -> None:
        barrier.wait()
        keys.append(secret.kept(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert set(keys) == {path.read_text().strip()}
    assert len(keys[0]) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_without_a_key_is_refused(tmp_path):
    """An emptied file does not become an empty key."""
    path = tmp_path / "key"
    path.write_text("\n")
    with pytest.raises(ImproperlyConfigured, match="holds no usable key"):
        secret.kept(path)


def test_a_key_that_cannot_be_kept_is_one_clear_line(tmp_path):
    """Where the file can't be made, the line says to set SECRET_KEY."""
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set, and key can't be read or made"):
        secret.kept(tmp_path / "missing" / "key")


# --- is there a Redis --------------------------------------------------------------------------


@contextmanager
def answering(reply: bytes | None) -> Iterator[int]:
    """A port where somebody answers each connection's first bytes with `reply`, or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                if reply is not None:
                    connection.sendall(reply)
                connection.recv(64)  # until the other side closes

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)
        assert not thread.is_alive()


def test_only_a_redis_that_answers_a_ping_counts():
    """One that wants a password, another program, a silent one and nobody at all don't."""
    with answering(b"+PONG\r\n") as port:
        assert env.redis_answers("127.0.0.1", port)
    with answering(b"-NOAUTH Authentication required.\r\n") as port:
        assert not env.redis_answers("127.0.0.1", port)
    with answering(None) as port:
        assert not env.redis_answers("127.0.0.1", port, timeout=0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not env.redis_answers("127.0.0.1", port)
