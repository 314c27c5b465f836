"""What an operator can ask of all workers, and tell them: one set of calls, two roads to the workers.

`Workers` goes over the channel layer; the HTTP API, the admin and, with Redis, the management commands use
it. `Server` goes over a running server's HTTP API; the commands use it where the in-memory layer, which
reaches one process only, is in force. Both give what the HTTP API answers (docs/operating.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from typing import Any

from django.conf import settings
from django.core import signing

from chat.realtime.codes import CloseCode
from chat.realtime.control import ask, ask_sync
from chat.realtime.errors import LayerUnavailable
from chat.realtime.layers import get_layer
from chat.realtime.publish import broadcast_all, broadcast_room
from chat.realtime.runtime import run_sync

Body = dict[str, Any]

API_PATH = "/api/chat-api/"
SCHEME = "ChatCommand"  # of the Authorization header that a command sends
TOKEN_AGE = 30  # seconds
HTTP_TIMEOUT = 10  # seconds for a call to the running server
LARGEST_ANSWER = 64 * 1024 * 1024  # bytes of a server's answer
MAX_LISTED = 1000  # connections, rooms or members that one call lists
TARGETS = ("room", "user", "connection", "all")

_SALT = "chat.operator"
_SUMMED = ("connections", "messages_in", "messages_out", "dropped", "slow_closed")


class Unreachable(Exception):
    """No worker can be reached; the text says what to do."""


class Operator(ABC):
    """The calls. Those over the layer raise LayerUnavailable, those over HTTP Unreachable."""

    @abstractmethod
    def stats(self) -> Body:
        """`{"workers": [one dict each], "totals": {...}, "rooms": distinct rooms}`."""

    @abstractmethod
    def rooms(self, limit: int = MAX_LISTED) -> Body:
        """`{"rooms": [{"room", "members"}], "total", "workers"}`, the largest first."""

    @abstractmethod
    def connections(
        self, *, room: str | None = None, user: str | None = None, limit: int = MAX_LISTED
    ) -> Body:
        """`{"connections": [...], "total", "workers"}`, the oldest first; `user` is a name or an id."""

    @abstractmethod
    def close(self, target: Body, reason: str = "") -> Body:
        """Close what one of TARGETS names: `{"closed", "workers"}`, sockets and the workers they were on."""

    @abstractmethod
    def broadcast(self, room: str | None, kind: str, data: Body) -> Body:
        """Send `data` with a type to a room or to everybody: `{"id", "workers"}`, its id and who took it."""


class Workers(Operator):
    """Over the channel layer. Raises LayerUnavailable."""

    def stats(self) -> Body:
        workers = sorted(ask_sync("stats"), key=lambda worker: (worker["host"], worker["pid"]))
        totals: Body = {key: sum(worker[key] for worker in workers) for key in _SUMMED}
        totals["rates"] = {
            way: round(sum(worker["rates"][way] for worker in workers), 2) for way in ("in", "out")
        }
        # A room has members on several workers: the sum of the workers' rooms would count it again.
        totals["rooms"] = self.rooms(0)["total"] if workers else 0
        return {"workers": workers, "totals": totals, "rooms": totals["rooms"]}

    def rooms(self, limit: int = MAX_LISTED) -> Body:
        answers = ask_sync("rooms")
        members: dict[str, int] = {}
        for answer in answers:
            for room, count in answer["rooms"].items():
                members[room] = members.get(room, 0) + count
        largest = sorted(members.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return {
            "rooms": [{"room": room, "members": count} for room, count in largest],
            "total": len(members),
            "workers": len(answers),
        }

    def members(self, room: str, limit: int = MAX_LISTED) -> Body:
        """`{"room", "members": [{"id", "name", "user"}], "total", "truncated"}`."""
        answers = ask_sync("members", {"room": room, "limit": limit})
        members = [member for answer in answers for member in answer["members"]][:limit]
        total = sum(answer.get("total", len(answer["members"])) for answer in answers)
        return {"room": room, "members": members, "total": total, "truncated": total > len(members)}

    def is_in(self, room: str, user_id: Any) -> bool:
        """Whether a connection of this user is in the room now."""
        # `user` matches names too, and somebody's name may be another's id: the ids are compared here.
        for answer in ask_sync("connections", {"room": room, "user": str(user_id), "limit": MAX_LISTED}):
            for connection in answer["connections"]:
                if connection["user"] and str(connection["user"]["id"]) == str(user_id):
                    return True
        return False

    def connections(
        self, *, room: str | None = None, user: str | None = None, limit: int = MAX_LISTED
    ) -> Body:
        args: Body = {"limit": limit}
        args |= {key: value for key, value in (("room", room), ("user", user)) if value}
        answers = ask_sync("connections", args)
        found = [connection for answer in answers for connection in answer["connections"]]
        found.sort(key=lambda connection: (connection["connected_at"], connection["id"]))
        return {
            "connections": found[:limit],
            "total": sum(answer["total"] for answer in answers),
            "workers": len(answers),
        }

    def close(self, target: Body, reason: str = "") -> Body:
        _check(target)
        return _closed(ask_sync("close", _closing(target, reason)))

    def close_each(self, connections: list[str], reason: str = "") -> Body:
        """Close several connections at once: `{"closed", "workers"}`."""

        async def each() -> list[list[Body]]:
            return await asyncio.gather(
                *[ask("close", _closing({"connection": ident}, reason)) for ident in connections]
            )

        try:
            answers = run_sync(each(), HTTP_TIMEOUT)
        except TimeoutError:
            raise LayerUnavailable() from None
        return _closed([answer for some in answers for answer in some])

    def broadcast(self, room: str | None, kind: str, data: Body) -> Body:
        receipt = broadcast_all(kind, data) if room is None else broadcast_room(room, kind, data)
        return {"id": receipt.id, "workers": receipt.workers}


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
        self, *, room: str | None = None, user: str | None = None, limit: int = MAX_LISTED
    ) -> Body:
        query = {"limit": limit, "room": room, "user": user}
        return self._call("GET", "connections", {key: value for key, value in query.items() if value})

    def close(self, target: Body, reason: str = "") -> Body:
        _check(target)
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


def reach() -> Operator:
    """The road to the workers from a process that serves nothing. Raises Unreachable for a bad URL."""
    return Workers() if get_layer().kind == "redis" else Server(server_url())


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


def sign(method: str, target: str, content: bytes) -> str:
    """A token for one call, good for TOKEN_AGE seconds, and for this method, path, query and body only."""
    return signing.dumps(_digest(method, target, content), salt=_SALT)


def is_signed(token: str, method: str, target: str, content: bytes) -> bool:
    """Whether `token` was made by `sign`, with our SECRET_KEY, for this call."""
    try:
        signed = signing.loads(token, salt=_SALT, max_age=TOKEN_AGE)
    except signing.BadSignature:
        return False
    return bool(signed == _digest(method, target, content))


def _digest(method: str, target: str, content: bytes) -> str:
    return f"{method} {target} {hashlib.sha256(content).hexdigest()}"


def _check(target: Body) -> None:
    """What closes connections must be told exactly which: an empty name would match everybody."""
    if len(target) != 1 or not all(key in TARGETS and value for key, value in target.items()):
        raise ValueError(f"Name exactly one of {', '.join(TARGETS)}.")


def _closing(target: Body, reason: str) -> Body:
    return {**target, "code": int(CloseCode.CLOSED_BY_ADMINISTRATOR), "reason": reason}


def _closed(answers: list[Body]) -> Body:
    workers = {answer["worker"] for answer in answers if answer["closed"]}
    return {"closed": sum(answer["closed"] for answer in answers), "workers": len(workers)}


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
