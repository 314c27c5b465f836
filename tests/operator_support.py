"""Calling the HTTP API of a real server as somebody."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.kit import ChatServer, User

API = "/api/chat-api/"
CSRF = "a1" * 16  # 32 characters, as Django makes them


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> dict[str, Any]:
        """What a refusal says; its whole body is `{"error": {...}}`."""
        body = self.json
        assert list(body) == ["error"], body
        assert isinstance(body["error"]["message"], str)
        return body["error"]


class Caller:
    """Somebody who calls the API: with a session if signed in, and with the CSRF token unless told not to."""

    def __init__(self, server: ChatServer, user: User | None = None, csrf: bool = True) -> None:
        self.server = server
        self.cookies = [user.cookie] if user else []
        self.headers: dict[str, str] = {}
        if csrf:
            self.cookies.append(f"csrftoken={CSRF}")
            self.headers["X-CSRFToken"] = CSRF

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """``body``: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {"Content_Type": "application/json"} if content is not None else {}
        sent = {**named, "Cookie": "; ".join(self.cookies), **self.headers, **headers}
        return Answer(*self.server.request(method, API + path, content, **sent))


def new_user(server: ChatServer, **fields: Any) -> User:
    """A user of that server whom no other test knows."""
    return server.create_user(f"user-{uuid4().hex[:10]}", **fields)
