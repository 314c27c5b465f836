"""Tokens for tests: made by the project's own code, or by hand as a server of ours never would."""

import base64
import hmac
import json
import time
from typing import Any

import jwt

from chat.realtime.testing.server import SECRET_KEY, User
from tests.kit import ChatServer

_MINT = """
from dataclasses import asdict
from django.contrib.auth import get_user_model
from chat.realtime import tokens
result = asdict(tokens.mint(get_user_model().objects.get(pk=pk)))
"""


def mint(server: ChatServer, user: User) -> dict[str, Any]:
    """A pair for the user, as `POST token` makes it."""
    pair: dict[str, Any] = server.django(_MINT, pk=user.id)
    return pair


def post(server: ChatServer, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    """POST JSON: status and the answer's JSON."""
    status, _, answer = server.request(
        "POST", path, json.dumps(body).encode(), Content_Type="application/json", **headers
    )
    return status, json.loads(answer) if answer else None


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unchecked."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def forge(token: str, *, key: Any = SECRET_KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """The token with other claims (None: without that one), signed anew."""
    said = {**claims_of(token), **claims}
    return jwt.encode(
        {name: value for name, value in said.items() if value is not None}, key, algorithm=algorithm
    )


def without_signature(token: str) -> str:
    """The token as `alg: none` writes it (RFC 7518 section 3.6)."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


def hmac_signed(header: str, claims: dict[str, Any] | None = None, key: bytes = SECRET_KEY.encode()) -> str:
    """A token with any header, signed with HMAC-SHA256 whatever the header says."""
    parts = [header.encode(), json.dumps(claims or {}).encode()]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(key, signed, "sha256")).rstrip(b"=")
    return (signed + b"." + signature).decode()


def in_seconds(seconds: float) -> int:
    return int(time.time() + seconds)
