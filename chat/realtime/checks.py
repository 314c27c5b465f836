"""System checks: what breaks real deployments is said before it does.

`manage.py check` runs those that only look; `check --deploy` and `serve` also ask Redis.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

import redis
from channels_redis.utils import decode_hosts
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

DAPHNE_FLOOR = (4, 2, 3)  # CVE-2026-44545, CVE-2026-44546
AUTOBAHN_FLOOR = (26, 7, 1)  # CVE-2026-77528
REDIS_TIMEOUT = 2.0  # seconds
TOKEN_KEY = 32  # bytes that a key for HS256 needs
LONG_TOKEN = 86_400  # seconds
# Bytes of pub/sub messages that Redis keeps for a worker that is behind before it cuts it off, which loses
# them all. 32 MB are the smallest that carry 500 messages of 64 KiB.
PUBSUB_BUFFER = 32 * 1024 * 1024

logger = logging.getLogger("chat.realtime")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def _redis_hosts() -> list[dict[str, Any]]:
    """The layer's Redis servers, as channels-redis reads its ``hosts``; none with the in-memory layer."""
    layers: dict[str, Any] = settings.CHANNEL_LAYERS
    hosts = layers.get("default", {}).get("CONFIG", {}).get("hosts")
    return decode_hosts(hosts) if hosts else []


@register(Tags.compatibility)
def check_versions(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The server and its protocol library at or above the versions with known holes mended."""
    found: list[CheckMessage] = []
    floors = (("daphne", DAPHNE_FLOOR, "chat.E001"), ("autobahn", AUTOBAHN_FLOOR, "chat.E002"))
    for name, floor, ident in floors:
        installed = version(name)
        if _numbers(installed) < floor:
            wanted = ".".join(str(part) for part in floor)
            found.append(
                Error(
                    f"{name} {installed} is installed; versions before {wanted} have known security holes.",
                    hint="pip install -r requirements.txt",
                    id=ident,
                )
            )
    return found


@register(Tags.compatibility, deploy=True)
def check_workers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Several workers need a message bus between them."""
    workers = getattr(settings, "WEB_CONCURRENCY", 1)
    if not _redis_hosts() and workers > 1:
        return [
            Error(
                f"WEB_CONCURRENCY is {workers}, but the in-memory channel layer reaches one process only.",
                hint="Start Redis and set REDIS_URL, or set WEB_CONCURRENCY=1.",
                id="chat.E003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_origins(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Some page must be allowed to connect, and not every page."""
    found: list[CheckMessage] = []
    hosts, origins = settings.ALLOWED_HOSTS, settings.ALLOWED_ORIGINS
    if not hosts and not origins:
        found.append(
            Error(
                "No origin is allowed: every browser's WebSocket would be refused.",
                hint="Set ALLOWED_HOSTS to the service's host names, or ALLOWED_ORIGINS.",
                id="chat.E004",
            )
        )
    if "*" in origins or ("*" in hosts and not origins):
        found.append(
            Warning(
                "Pages of every origin may open WebSockets with a visitor's cookies.",
                hint="Name the origins in ALLOWED_ORIGINS and the hosts in ALLOWED_HOSTS.",
                id="chat.W005",
            )
        )
    return found


@register(Tags.security, deploy=True)
def check_tokens(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Nobody can work out the key that signs tokens (RFC 7518 section 3.2), and tokens stay out of logs."""
    found: list[CheckMessage] = []
    tokens: Any = settings.SIMPLE_JWT
    key = tokens["SIGNING_KEY"].encode()
    if tokens["ALGORITHM"].startswith("HS") and len(key) < TOKEN_KEY:
        found.append(
            Error(
                f"The key that signs tokens has {len(key)} bytes; fewer than {TOKEN_KEY} can be guessed.",
                hint="Set JWT_SIGNING_KEY (or SECRET_KEY) to a long random text.",
                id="chat.E020",
            )
        )
    if settings.TOKEN_IN_QUERY:
        found.append(
            Warning(
                "Tokens are taken from URLs, which proxies write to their logs.",
                hint="Unset TOKEN_IN_QUERY; browsers can send a token as a subprotocol.",
                id="chat.W021",
            )
        )
    if tokens["ACCESS_TOKEN_LIFETIME"].total_seconds() > LONG_TOKEN:
        found.append(
            Warning(
                "Access tokens live for more than a day: a stolen one is good for as long.",
                hint="Set JWT_LIFETIME to some minutes; clients refresh it.",
                id="chat.W022",
            )
        )
    return found


@register(Tags.compatibility, deploy=True)
def check_redis(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Redis answers, and keeps enough for a worker that is behind for a moment."""
    return [found for host in _redis_hosts() for found in _check_host(host)]


def _check_host(host: dict[str, Any]) -> list[CheckMessage]:
    settings = {**host, "socket_timeout": REDIS_TIMEOUT, "socket_connect_timeout": REDIS_TIMEOUT}
    address = settings.pop("address", None)
    if "sentinels" in settings:
        return []  # the master is found at run time
    client = redis.Redis.from_url(address, **settings) if address else redis.Redis(**settings)
    try:
        client.ping()
        found: Any = client.config_get("client-output-buffer-limit")
    except redis.exceptions.ResponseError:
        return []  # managed Redis services forbid CONFIG; they answer, which is what counts
    except (redis.exceptions.RedisError, OSError) as error:
        return [
            Error(
                f"Redis can't be reached: {type(error).__name__}.",
                hint="Start Redis, or correct REDIS_URL.",
                id="chat.E006",
            )
        ]
    finally:
        client.close()
    return _check_buffer(found.get("client-output-buffer-limit", ""))


def _check_buffer(limit: str) -> list[CheckMessage]:
    """``limit`` is Redis' setting: ``normal 0 0 0 slave ... pubsub <hard> <soft> <seconds>``."""
    words = limit.split()
    if "pubsub" not in words:
        return []
    hard, soft = (int(word) for word in words[words.index("pubsub") + 1 :][:2])
    if 0 < hard < PUBSUB_BUFFER or 0 < soft < PUBSUB_BUFFER // 4:
        return [
            Warning(
                f"Redis cuts off a worker that is {min(filter(None, (hard, soft))) // 1024} KiB behind, "
                "and its messages are lost.",
                hint='redis-cli CONFIG SET client-output-buffer-limit "pubsub 64mb 16mb 60"',
                id="chat.W007",
            )
        ]
    return []
