"""How a command proves to the running server that it holds the same SECRET_KEY."""

from __future__ import annotations

import hashlib

from django.core import signing

SCHEME = "ChatCommand"  # of the Authorization header
TOKEN_AGE = 30  # seconds

_SALT = "chat.operator"


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
