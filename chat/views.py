"""The demo page."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

SOCKET_PATH = "/api/chat-api/ws"
RESOURCE_PATH = "/api/resources/ws"


@require_safe
@never_cache  # it names the user
def index(request: HttpRequest) -> HttpResponse:
    """The chat page; which room it shows is the business of its script, from `?room=` in the address."""
    return render(
        request,
        "chat/index.html",
        {
            "socket_path": SOCKET_PATH,
            "resource_path": RESOURCE_PATH,
            "sign_in_url": resolve_url(settings.LOGIN_URL),
        },
    )
