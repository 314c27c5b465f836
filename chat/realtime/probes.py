"""Health probes, answered before Django: under any Host, over plain HTTP, without a thread or a database.

Load balancers ask by address and without TLS, which Django's host check and HTTPS redirect would refuse.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .errors import Refused, Unavailable
from .health import areadiness
from .refusal import answer


class Probes:
    """``health``: the process is alive. ``ready``: it is able to serve, else 503 with the reason."""

    def __init__(self, health: str, ready: str) -> None:
        self.health = health
        self.ready = ready

    def knows(self, path: str) -> bool:
        return path.rstrip("/") in (self.health, self.ready)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await answer(
                scope, send, Refused("Only GET is answered here.", code="method_not_allowed", status=405)
            )
        elif scope["path"].rstrip("/") == self.health:
            await self._say(scope, send, {"status": "ok"})
        else:
            ready, reason = await areadiness()
            if ready:
                await self._say(scope, send, {"status": "ready"})
            else:
                code = "draining" if reason == "draining" else "unavailable"
                refusal = Unavailable(f"Not ready: {reason}.", code=code, retry_after=2)
                await answer(scope, send, refusal)

    async def _say(self, scope: Any, send: Any, content: dict[str, str]) -> None:
        body = msgspec.json.encode(content)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
