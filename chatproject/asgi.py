"""The ASGI application: for `manage.py serve`, and for any other ASGI server (docs/servers.md)."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django_application = get_asgi_application()

from chat.realtime.metrics_page import MetricsPage  # noqa: E402
from chat.realtime.probes import Probes  # noqa: E402
from chat.realtime.routing import Application, WebSocketRouter, installed_urlpatterns  # noqa: E402

application = Application(
    django_application,
    WebSocketRouter(installed_urlpatterns()),
    Probes(health="/api/chat-api/health", ready="/api/chat-api/ready"),
    metrics=MetricsPage("/metrics"),
    pages=("/api/chat-api/ws/stats",),  # a room of this name has its WebSocket all the same
)
