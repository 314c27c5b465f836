"""From a path to a consumer, for sockets and for plain requests on their paths."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from channels.routing import URLRouter
from django.apps import apps

from .counters import add
from .errors import NotFound, Refused
from .metrics_page import MetricsPage
from .probes import Probes
from .refusal import answer, refuse
from .runtime import get_hub


def installed_urlpatterns() -> list[Any]:
    """``websocket_urlpatterns`` of the ``routing`` module of every installed app, in their order."""
    patterns: list[Any] = []
    for app in apps.get_app_configs():
        name = f"{app.name}.routing"
        if find_spec(name) is not None:
            patterns += getattr(import_module(name), "websocket_urlpatterns", [])
    return patterns


class WebSocketRouter:
    """The ASGI application of all WebSocket paths. Unknown ones are refused with 404."""

    def __init__(self, patterns: list[Any]) -> None:
        self.patterns = patterns
        self.router = URLRouter(patterns)

    def knows(self, path: str) -> bool:
        """Whether a WebSocket path; plain requests to it are answered by its consumer."""
        return any(pattern.pattern.match(path.lstrip("/")) is not None for pattern in self.patterns)

    def _answers_requests(self, path: str) -> bool:
        """Whether the path's consumer is one of ours, which knows what to say to a plain request."""
        for pattern in self.patterns:
            if pattern.pattern.match(path.lstrip("/")) is not None:
                return hasattr(getattr(pattern.callback, "consumer_class", None), "admit")
        return False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not self._answers_requests(scope["path"]):
            await answer(scope, send, Refused("Open a WebSocket here.", code="upgrade_required", status=426))
            return
        if self.knows(scope["path"]):
            await self.router(scope, receive, send)
            return
        await receive()
        refusal = NotFound("There is no WebSocket at this path.")
        add(get_hub().counters.refusals, refusal.code)
        await refuse(scope, send, refusal)


class Application:
    """The project's ASGI application: sockets to their consumers, probes and metrics answered, the
    rest to Django."""

    def __init__(
        self,
        django: Any,
        websocket: WebSocketRouter,
        probes: Probes,
        pages: tuple[str, ...] = (),
        metrics: MetricsPage | None = None,
    ) -> None:
        """``pages``: WebSocket paths at which Django has a page for plain requests."""
        self.django = django
        self.websocket = websocket
        self.probes = probes
        self.pages = pages
        self.metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        kind = scope["type"]
        if kind == "websocket" or (kind == "http" and self._asks_of_socket(scope["path"])):
            await self.websocket(scope, receive, send)
        elif kind == "http" and self.probes.knows(scope["path"]):
            await self.probes(scope, receive, send)
        elif kind == "http" and self.metrics is not None and self.metrics.knows(scope["path"]):
            await self.metrics(scope, receive, send)
        elif kind == "http":
            await self.django(scope, receive, send)
        elif kind == "lifespan":
            await _lifespan(receive, send)
        else:
            raise ValueError(f"There is nothing here for {kind!r}")

    def _asks_of_socket(self, path: str) -> bool:
        return self.websocket.knows(path) and path.rstrip("/") not in self.pages


async def _lifespan(receive: Any, send: Any) -> None:
    """Start and stop under servers that ask (uvicorn): the worker is there before its first client."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            get_hub()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return
