"""How a handshake is refused: a real HTTP status and a JSON body, before the upgrade.

On ASGI servers without the denial-response extension (the stock daphne command) a refusal is the
server's bare 403. A plain GET on a WebSocket path is told the same as a handshake would be.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from .errors import RealtimeError, Refused

Headers = list[tuple[bytes, bytes]]


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
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    status, headers, body = render(refusal)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


async def answer_request(consumer: Any, scope: Any, receive: Any, send: Any) -> None:
    """Answer a plain HTTP request on a WebSocket path: as a handshake's refusal, else 426."""
    refusal: Refused
    if scope["method"] not in ("GET", "HEAD"):
        refusal = Refused("Only GET is answered here.", code="method_not_allowed", status=405)
    else:
        try:
            await consumer.admit()
            await consumer.establish()
            refusal = Refused("Open a WebSocket here.", code="upgrade_required", status=426)
        except Refused as error:
            refusal = error
        except RealtimeError as error:
            refusal = Refused.of(error)
    await answer(scope, send, refusal)


async def answer(scope: Any, send: Any, refusal: Refused) -> None:
    """Answer a plain HTTP request with a refusal."""
    status, headers, body = render(refusal)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
