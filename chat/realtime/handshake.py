"""What a handshake request says, read once: host, origin, address, query, session, tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from .auth import session_key_of
from .errors import BadRequest
from .origin import check_origin

MAX_USER_AGENT = 200  # characters kept
MAX_HOST = 255  # characters; a name has at most 253 (RFC 1035 section 2.3.4)
BEARER = "bearer."  # what a subprotocol that is a token begins with


@dataclass(slots=True)
class Handshake:
    """One request to open a socket, or the plain GET that asks what would become of one."""

    host: str = ""
    origins: list[str] = field(default_factory=list)
    address: str | None = None
    user_agent: str = ""
    session_key: str | None = None
    tokens: tuple[str, ...] = ()  # those that it offers; none any more once they were looked at
    began: float = 0.0  # loop time at which its credentials were looked at
    query: dict[str, str] = field(default_factory=dict)
    secure: bool = False

    @classmethod
    def of(cls, scope: dict[str, Any]) -> Handshake:
        """Raises BadRequest for a query that can't be read."""
        found = cls()
        forwarded: list[str] = []
        proto = b""
        for name, value in scope.get("headers") or ():
            if name == b"host":
                found.host = value.decode("latin-1")
            elif name == b"origin":
                found.origins.append(value.decode("latin-1"))
            elif name == b"user-agent":
                found.user_agent = value.decode("latin-1")[:MAX_USER_AGENT]
            elif name == b"x-forwarded-for":
                forwarded.extend(part.strip() for part in value.decode("latin-1").split(","))
            elif name == b"authorization":
                scheme, _, token = value.decode("latin-1").strip().partition(" ")
                if scheme.lower() == "bearer":
                    found.tokens += (token.strip(),)
            elif name == b"x-forwarded-proto":
                proto = value.rpartition(b",")[2].strip()
        client = scope.get("client")
        found.address = forwarded_address(client[0] if client else None, forwarded)
        found.tokens += take_offered_tokens(scope)
        found.session_key = session_key_of(scope.get("headers") or [])
        found.query = read_query(scope.get("query_string") or b"")
        found.secure = scope.get("scheme") in ("wss", "https")
        if getattr(settings, "TRUSTED_PROXIES", 0) and proto == b"https":
            found.secure = True
        return found

    def check_origin(self) -> None:
        """Raises Forbidden(``forbidden_origin``)."""
        check_origin(
            self.origins,
            self.host,
            self.secure,
            cookie=self.session_key is not None,
            allowed=settings.ALLOWED_ORIGINS,
            trust_host=len(self.host) <= MAX_HOST and _is_ours(self.host),
        )


def take_offered_tokens(scope: dict[str, Any]) -> tuple[str, ...]:
    """The tokens that browsers, which can't set a header, offer as subprotocols: ``bearer.<token>``. They are
    taken out of what is offered, so that none is ever chosen and sent back."""
    offered = scope.get("subprotocols")
    if offered is None and scope["type"] == "http":
        headers = [value for name, value in scope.get("headers") or () if name == b"sec-websocket-protocol"]
        offered = [part.strip() for value in headers for part in value.decode("latin-1").split(",")]
    if not offered or not any(part.startswith(BEARER) for part in offered):
        return ()
    scope["subprotocols"] = [part for part in offered if not part.startswith(BEARER)]
    return tuple([part.removeprefix(BEARER) for part in offered if part.startswith(BEARER)])


def forwarded_address(peer: str | None, forwarded: list[str]) -> str | None:
    """The client's address: the peer's, or with TRUSTED_PROXIES = n the n-th from the right of
    X-Forwarded-For, which the outermost trusted proxy wrote. Anything further left is the client's word."""
    trusted: int = getattr(settings, "TRUSTED_PROXIES", 0)
    if trusted and len(forwarded) >= trusted:
        return forwarded[-trusted][:64]
    return peer


def address_of(scope: dict[str, Any]) -> str | None:
    """The client's address, for a request that was not read whole."""
    lines = [value for name, value in scope.get("headers") or () if name == b"x-forwarded-for"]
    forwarded = [part.strip() for value in lines for part in value.decode("latin-1").split(",")]
    client = scope.get("client")
    return forwarded_address(client[0] if client else None, forwarded)


def read_query(raw: bytes) -> dict[str, str]:
    """The query's parameters, the last value of each. Raises BadRequest."""
    if not raw:
        return {}
    try:
        return dict(
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        )
    except ValueError:
        raise BadRequest("The query can't be read.") from None


@lru_cache(maxsize=256)
def _is_ours(host: str) -> bool:
    """Whether the Host header names this site; otherwise it can't vouch for an origin (DNS rebinding)."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)
