"""Typed reading of environment variables.

Every function takes the variable's name and gives a checked value. A variable that is set but empty counts
as not set. A bad value raises `ImproperlyConfigured` with one line that names the variable, what was expected
and what came; values that may hold a password are never repeated.
"""

import os
import re
import socket
import urllib.parse
import zoneinfo
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import environ
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ImproperlyConfigured

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
HOST_PATTERN = re.compile(r"\*|\.?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
REDIS_SCHEMES = ("redis", "rediss", "unix")
MEMORY_URL = "memory://"
PROBE_TIMEOUT = 0.5  # seconds for connecting to Redis and for its answer


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise _bad(name, "must be 1 or 0 (or true or false)", value)


def whole(name: str, default: int, low: int, high: int) -> int:
    value = text(name)
    if not value:
        return default
    expected = f"must be a whole number from {low} to {high}"
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not low <= int(value) <= high:
        raise _bad(name, expected, value)
    return int(value)


def choice(name: str, default: str, allowed: Iterable[str]) -> str:
    """One of the allowed words, which are in capitals; any case is accepted."""
    value = text(name, default).upper()
    if value not in allowed:
        raise _bad(name, f"must be one of {', '.join(allowed)}", value)
    return value


def time_zone(name: str, default: str) -> str:
    value = text(name, default)
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _bad(name, 'must be the name of a time zone, like "Europe/Berlin"', value) from error
    return value


def items(name: str) -> list[str]:
    """The parts of a list that is separated by commas or spaces."""
    return [part for part in re.split(r"[,\s]+", text(name)) if part]


def hosts(name: str) -> list[str]:
    """Host names for Django's ALLOWED_HOSTS: no scheme, no port; `.example.com` includes its subdomains."""
    found = items(name)
    for host in found:
        if not HOST_PATTERN.fullmatch(host):
            raise _bad(name, "must list host names without scheme or port, like chat.example.com", host)
    return found


def origins(name: str) -> list[str]:
    """Web origins as a browser sends them: `scheme://host[:port]`, lower case, without the usual port."""
    return [_origin(name, value) for value in items(name)]


def metrics(name: str) -> dict[str, Any]:
    """Who may read the metrics: ``off``, or networks with commas; ``local`` is this machine."""
    value = text(name, "local")
    if value == "off":
        return {"ENABLED": False}
    networks: list[str] = []
    for item in value.split(","):
        if item.strip() == "local":
            networks += ["127.0.0.0/8", "::1/128"]
            continue
        try:
            networks.append(str(ip_network(item.strip())))
        except ValueError:
            raise _bad(name, "off, or networks like 10.0.0.0/8 separated by commas", value) from None
    return {"ENABLED": True, "NETWORKS": networks}


def redis_url(name: str) -> str:
    """A URL for redis-py, or `memory://`, or "" if the variable is not set."""
    value = text(name)
    if value in ("", MEMORY_URL):
        return value
    expected = (
        "must be a URL like redis://host:6379/0, rediss://:password@host:6379/0 or unix:///run/redis.sock"
    )
    try:
        parts = urllib.parse.urlsplit(value)
        valid = parts.scheme in REDIS_SCHEMES and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ImproperlyConfigured(f"{name} {expected}")
    if parts.scheme == "unix":
        valid = bool(parts.path)
    else:
        valid = bool(parts.hostname) and bool(re.fullmatch(r"/?[0-9]*/?", parts.path, re.ASCII))
    if not valid:
        raise ImproperlyConfigured(f"{name} {expected}")
    return value


def database(name: str, default: str, base: Path) -> dict[str, Any]:
    """A database for Django's DATABASES, from a `postgres://` or `sqlite:///` URL.

    A relative SQLite path starts at `base`. What stands in the URL's query goes before our own options.
    """
    expected = "must be a URL like postgres://user:password@host:5432/name or sqlite:///db.sqlite3"
    value = text(name, default)
    scheme = value.partition("://")[0].lower()
    if scheme not in ("postgres", "postgresql", "sqlite"):
        raise ImproperlyConfigured(f"{name} {expected}")
    try:
        config: dict[str, Any] = environ.Env.db_url_config(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} {expected}") from error
    given = config.pop("OPTIONS", {})
    if scheme == "sqlite":
        if not config["NAME"] or config["NAME"] == ":memory:":
            # Each thread has a connection of its own: in memory, that would be a database of its own.
            raise ImproperlyConfigured(f"{name} must name a file, like sqlite:///db.sqlite3")
        return config | {"NAME": str(base / config["NAME"]), "OPTIONS": _sqlite_options() | given}
    if not config["NAME"]:
        raise ImproperlyConfigured(f"{name} {expected}: it names no database")
    return config | {"CONN_HEALTH_CHECKS": True, "OPTIONS": _postgres_options() | given}


def private_key(name: str, base: Path) -> tuple[str, str]:
    """An RSA key in a PEM file (a relative path starts at `base`): it and its public half; "" without one."""
    value = text(name)
    if not value:
        return "", ""
    expected = (
        "must name a file with an RSA private key in PEM format, of 2048 bits or more, without a password"
    )
    try:
        pem = (base / value).read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad(name, expected, value) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < 2048:
        raise _bad(name, expected, value)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode("ascii"), public.decode("ascii")


def redis_answers(host: str = "localhost", port: int = 6379, timeout: float = PROBE_TIMEOUT) -> bool:
    """Whether a Redis that asks for no password answers a PING there, within `timeout` seconds a step."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _origin(name: str, value: str) -> str:
    expected = "must list origins like https://chat.example.com or http://localhost:8000"
    try:
        parts = urllib.parse.urlsplit(value.lower())
        port = parts.port
    except ValueError as error:
        raise _bad(name, expected, value) from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise _bad(name, expected, value)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if "*" in host or not HOST_PATTERN.fullmatch(host) or "@" in parts.netloc:
        raise _bad(name, expected, value)
    if port is None or port == DEFAULT_PORTS[parts.scheme]:
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"


def _sqlite_options() -> dict[str, Any]:
    return {
        # WAL: readers don't wait for the writer, nor it for them.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        # A transaction takes the write lock when it begins; one that takes it later fails at once if another
        # has written meanwhile, however long the timeout.
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,  # seconds to wait for another writer
    }


def _postgres_options() -> dict[str, Any]:
    return {
        "connect_timeout": 5,  # seconds
        "options": "-c statement_timeout=30000",  # milliseconds
        # Under ASGI each request has a thread of its own, and a connection that the thread keeps for the next
        # one (CONN_MAX_AGE) is lost with it: the process keeps a pool instead.
        "pool": {"min_size": 1, "max_size": 8, "timeout": 5},
    }


def _bad(name: str, expected: str, value: str) -> ImproperlyConfigured:
    shown = value if len(value) <= 80 else value[:77] + "..."
    return ImproperlyConfigured(f'{name} {expected}, not "{shown}"')
