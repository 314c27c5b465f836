"""How a handshake is refused: a real HTTP status and a JSON body, before the upgrade.

On ASGI servers without the denial-response extension (the stock daphne command) a refusal is the
server's bare 403. A plain GET on a WebSocket path is told the same as a handshake would be.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from . import journal
from .errors import RealtimeError, Refused
from .handshake import Handshake, address_of
from .origin import normalize

Headers = list[tuple[bytes, bytes]]
PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"authorization"),
    (b"access-control-max-age", b"600"),  # seconds
]


def render(refusal: Refused) -> tuple[int, Headers, bytes]:
    """A refusal's status, headers and body."""
    body = msgspec.json.encode({"error": {"code": refusal.code, "message": refusal.message}})
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(math.ceil(refusal.retry_after)).encode()))
    if refusal.status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    if refusal.status == 426:
        headers += [
            (b"sec-websocket-version", b"13"),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
        ]
    return refusal.status, headers, body


async def refuse(scope: Any, send: Any, refusal: Refused) -> None:
    """Answer a WebSocket handshake with no."""
    journal.refused(refusal.code, refusal.status, scope.get("path"), address_of(scope))
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    status, headers, body = render(refusal)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def answer_request(consumer: Any, scope: Any, receive: Any, send: Any) -> None:
    """Answer a plain HTTP request on a WebSocket path: as a handshake's refusal, else 426.

    Pages of other origins may read the answer, as a browser tells them nothing else about a failed handshake.
    Those that may not connect read just that: for them the origin is looked at before anything else.
    """
    refusal: Refused
    origin = _origin(scope)
    if origin is not None and _is_preflight(scope):
        await send({"type": "http.response.start", "status": 204, "headers": _readable(origin) + PREFLIGHT})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["method"] not in ("GET", "HEAD"):
        refusal = Refused("Only GET is answered here.", code="method_not_allowed", status=405)
    else:
        try:
            if origin is not None:
                Handshake.of(scope).check_origin()
            await consumer.admit()
            await consumer.establish()
            refusal = Refused("Open a WebSocket here.", code="upgrade_required", status=426)
        except Refused as error:
            refusal = error
        except RealtimeError as error:
            refusal = Refused.of(error)
    await answer(scope, send, refusal, _readable(origin) if origin is not None else [])


def _origin(scope: Any) -> bytes | None:
    """The page's origin, which browsers send with requests to other sites."""
    origins = [value for name, value in scope.get("headers") or () if name == b"origin"]
    return origins[0] if len(origins) == 1 and normalize(origins[0].decode("latin-1")) else None


def _is_preflight(scope: Any) -> bool:
    """A browser asks whether it may send an ``Authorization`` header (Fetch standard, "CORS-preflight")."""
    asks = any(name == b"access-control-request-method" for name, _ in scope["headers"])
    return asks and scope["method"] == "OPTIONS"


def _readable(origin: bytes) -> Headers:
    """Headers that let a page of this origin read the answer (Fetch standard, "CORS protocol")."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"retry-after"),
        (b"vary", b"origin"),
    ]


async def answer(scope: Any, send: Any, refusal: Refused, more: Headers | None = None) -> None:
    """Answer a plain HTTP request with a refusal; ``more`` are headers beside its own."""
    status, headers, body = render(refusal)
    headers += more or []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
