"""``/metrics``: this host's workers for Prometheus, answered before Django, without Redis or a database.

Each worker keeps its file up to date here too, about once a second.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from functools import partial
from ipaddress import ip_address, ip_network
from time import perf_counter
from typing import Any, cast

from django.conf import settings
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from . import log, metrics_files
from .errors import Forbidden, Refused, Unauthenticated
from .handshake import forwarded_address
from .hub import Hub
from .metrics import Values, families, snapshot
from .refusal import answer
from .runtime import get_hub, on_hub

logger = logging.getLogger("chat.realtime.metrics")

LOOPBACK = ("127.0.0.0/8", "::1/128")
LARGEST_SHARE = 0.005  # of a worker's time for its file: 10,000 connections take 8 ms, then it is each 1.6 s
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})  # a proxy was here

_keepers: dict[Hub, _Keeper] = {}


class MetricsPage:
    """The ASGI application of one path."""

    def __init__(self, path: str = "/metrics") -> None:
        self.path = path

    def knows(self, path: str) -> bool:
        return path.rstrip("/") == self.path and _option("ENABLED", True)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise Refused("Only GET is answered here.", code="method_not_allowed", status=405)
            check_access(scope)
        except Refused as refusal:
            await answer(scope, send, refusal)
            return
        hub = get_hub()
        place = metrics_files.directory()
        own = _keeper(hub).keep()
        values = await asyncio.to_thread(metrics_files.gather, place, own)
        encode, content_type = _encoder(scope)
        body = encode(cast(CollectorRegistry, _Collected(values)))
        headers = [
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def check_access(scope: Any) -> None:
    """With the token, from anywhere; else from the networks that may. Raises Unauthenticated, Forbidden.

    A request that a proxy passed on counts as its client's where TRUSTED_PROXIES says whose word to take,
    else as a stranger's: a proxy on this machine must not make the whole world local.
    """
    token: str = _option("TOKEN", "")
    headers = scope.get("headers") or []
    given = [value for name, value in headers if name == b"authorization"]
    if given:
        if token and hmac.compare_digest(given[-1], b"Bearer " + token.encode()):
            return
        raise Unauthenticated()
    forwarded = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    client = scope.get("client")
    peer = client[0] if client else None
    if any(name in FORWARDED for name, _ in headers):
        parts = [part.strip() for line in forwarded for part in line.split(",")]
        trusted: int = getattr(settings, "TRUSTED_PROXIES", 0)
        peer = forwarded_address(None, parts) if trusted and len(parts) >= trusted else None
    if not _allowed(peer):
        raise Forbidden("This address may not read the metrics.")


def _allowed(address: str | None) -> bool:
    try:
        found = ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    networks = [ip_network(network) for network in _option("NETWORKS", LOOPBACK)]
    return any((mapped or found) in network for network in networks)


def _option(name: str, default: Any) -> Any:
    """Of ``REALTIME["METRICS"]``: ENABLED, NETWORKS (CIDR texts), TOKEN."""
    return getattr(settings, "REALTIME", {}).get("METRICS", {}).get(name, default)


def _encoder(scope: Any) -> Any:
    """Prometheus' text, or OpenMetrics where the client accepts it: ``(encode, content type)``.

    prometheus_client's own choice fails at a version that is none.
    """
    accepted = [value for name, value in scope.get("headers") or [] if name == b"accept"]
    if any(b"application/openmetrics-text" in value for value in accepted):
        return partial(openmetrics.generate_latest, version="1.0.0"), openmetrics.CONTENT_TYPE_LATEST
    return exposition.generate_latest, exposition.CONTENT_TYPE_PLAIN_0_0_4


class _Collected(Collector):
    """What prometheus_client's encoders ask for its metrics."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def collect(self) -> Any:
        return families(self.values)


class _Keeper:
    """Keeps one worker's file, and looks how late its clock is."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.place = metrics_files.directory()
        self.lag = 0.0
        self._last = hub.loop.time()
        self._due = 0.0
        self._again = 1.0  # seconds after which the file is written anew; the hub sweeps each second
        hub.sweepers.append(self.tick)

    def tick(self, now: float) -> None:
        self.lag = max(0.0, now - self._last - 1.0)
        self._last = now
        if self.place is not None and now >= self._due:
            began = perf_counter()
            self.keep()
            pause = max(0.9, (perf_counter() - began) / LARGEST_SHARE)
            self._due, self._again = now + pause, pause + 1.0

    def keep(self) -> dict[str, Any]:
        """Write the file as things are now, and return what is in it."""
        taken = snapshot(self.hub, self.lag) | {"again": self._again}
        if self.place is not None:
            try:
                metrics_files.write(self.place, taken)
            except OSError as error:  # a full disk must not stop the service
                log.event(logger, logging.WARNING, "metrics_not_written", reason=type(error).__name__)
        return taken


def keep(hub: Hub) -> None:
    """Write a worker's last values: it is about to end."""
    _keeper(hub).keep()


def _keeper(hub: Hub) -> _Keeper:
    if hub not in _keepers:
        for old in [known for known in _keepers if known.loop.is_closed()]:
            del _keepers[old]
        _keepers[hub] = _Keeper(hub)
    return _keepers[hub]


on_hub.append(lambda hub: _keeper(hub).tick(hub.loop.time()))
