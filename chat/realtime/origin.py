"""Which web pages may open a socket here: the defence against cross-site WebSocket hijacking.

RFC 6455 section 10.2; docs/protocol.md, "Origin". Channels' validator compares host names only.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from .errors import Forbidden

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_REFUSAL = "Pages of this origin may not connect here."


def check_origin(
    origins: list[str], host: str, secure: bool, cookie: bool, allowed: list[str], trust_host: bool
) -> None:
    """Raise Forbidden(``forbidden_origin``) unless the request may come from there.

    ``origins``: the Origin headers; ``host``: the Host header, which counts as allowed when ``trust_host``;
    ``cookie``: whether the request signs in by cookie: a page can make a browser send that, so it needs an
    Origin, while programs without cookies need none. ``allowed``: ``scheme://host[:port]``, or ``*``.
    """
    if not origins:
        if cookie:
            raise Forbidden("A request with a session cookie needs an Origin.", code="forbidden_origin")
        return
    if len(origins) > 1:
        raise Forbidden(_REFUSAL, code="forbidden_origin")
    origin = normalize(origins[0])
    if origin is None:
        raise Forbidden(_REFUSAL, code="forbidden_origin")
    if "*" in allowed or origin in {normalize(one) for one in allowed}:
        return
    if trust_host and host:
        # Behind a proxy that ends TLS the server sees plain HTTP: the page's own scheme decides.
        schemes = ("https",) if secure else ("http", "https")
        if any(origin == normalize(f"{scheme}://{host}") for scheme in schemes):
            return
    raise Forbidden(_REFUSAL, code="forbidden_origin")


def normalize(origin: str) -> tuple[str, str, int] | None:
    """``(scheme, host, port)``, or None for ``null`` and everything that is no http(s) origin."""
    try:
        parts = urlsplit(origin.strip().lower())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        return None
    if parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]
