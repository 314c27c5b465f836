"""The ASGI application of its documentation's tutorial.

Source: https://djangochannelsrestframework.readthedocs.io/en/stable/tutorial/index.html
"""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application
from django.urls import re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "channels_rest.settings")
django_asgi_app = get_asgi_application()

from .consumers import ItemConsumer  # noqa: E402  (Django must be set up before consumers load)

websocket_urlpatterns = [re_path(r"ws/items/$", ItemConsumer.as_asgi())]

application = ProtocolTypeRouter(
    {
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
