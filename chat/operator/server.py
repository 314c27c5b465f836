"""The road over a running server's HTTP API."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from django.conf import settings

from chat.operator.calls import MAX_LISTED, Body, Operator, Unreachable, check_target
from chat.operator.signature import SCHEME, sign

API_PATH = "/api/chat-api/"
HTTP_TIMEOUT = 10  # seconds
LARGEST_ANSWER = 64 * 1024 * 1024  # bytes


class Server(Operator):
    """Over a running server's HTTP API, signed with our SECRET_KEY. Raises Unreachable."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        # No proxy (the server is this machine's or its neighbour), and no redirect that could take the
        # signature elsewhere.
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect()).open

    def stats(self) -> Body:
        return self._call("GET", "ws/stats")

    def rooms(self, limit: int = MAX_LISTED) -> Body:
        return self._call("GET", "rooms", {"limit": limit})

    def connections(
        self,
        *,
        room: str | None = None,
        user: str | None = None,
        username: str | None = None,
        where: Body | None = None,
        limit: int = MAX_LISTED,
    ) -> Body:
        condition = None if where is None else json.dumps(where)
        query = {"limit": limit, "room": room, "user": user, "username": username, "where": condition}
        return self._call("GET", "connections", {key: value for key, value in query.items() if value})

    def close(self, target: Body, reason: str = "") -> Body:
        check_target(target)
        return self._call("POST", "connections/close", body={**target, "reason": reason})

    def broadcast(self, room: str | None, kind: str, data: Body) -> Body:
        return self._call("POST", "broadcast", body={"room": room, "type": kind, "data": data})

    def _call(self, method: str, path: str, query: Body | None = None, body: Body | None = None) -> Body:
        target = API_PATH + path + ("?" + urllib.parse.urlencode(query) if query else "")
        content = b"" if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 (the scheme is checked in `reach`)
            self.url + target,
            data=content or None,
            method=method,
            headers={
                "Authorization": f"{SCHEME} {sign(method, target, content)}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        try:
            with self._open(request, timeout=HTTP_TIMEOUT) as answer:
                found: Body = json.loads(answer.read(LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            raise Unreachable(f"The server at {self.url} refused: {_message_of(error)}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unreachable(
                f"No server answers at {self.url} ({getattr(error, 'reason', error)}). "
                "With the in-memory layer this command asks the running server over HTTP: start it "
                "(manage.py serve), or set CHAT_SERVER_URL to where it listens. "
                "With a Redis (REDIS_URL) all workers are reached directly."
            ) from error
        return found


def server_url() -> str:
    """CHAT_SERVER_URL, or where `manage.py serve` listens by the same settings. Raises Unreachable."""
    url = os.environ.get("CHAT_SERVER_URL", "").strip()
    if not url:
        host = "127.0.0.1" if settings.HOST in ("", "0.0.0.0", "::") else settings.HOST
        return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise Unreachable("CHAT_SERVER_URL must be a URL like http://127.0.0.1:8000")
    return url


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: the redirect comes back as an HTTPError."""


def _message_of(error: urllib.error.HTTPError) -> str:
    """What the server says about a refused call, in words."""
    if error.code in (301, 302, 307, 308):
        place = error.headers.get("Location", "another address")
        return f"it redirects to {place}. Set CHAT_SERVER_URL to that."
    try:
        message = str(json.loads(error.read(LARGEST_ANSWER))["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        message = f"HTTP status {error.code}."
    if error.code == 401:
        message += " It must run with the same SECRET_KEY as this command, and its clock must agree."
    return message
