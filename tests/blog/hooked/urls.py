"""The page's monitoring endpoint."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from chat.resources import get_connection_count, get_subscription_count


def stats(request: HttpRequest) -> HttpResponse:
    words = (
        f"Active Connections: {get_connection_count()}\nActive Subscriptions: {get_subscription_count()}\n"
    )
    return HttpResponse(words, content_type="text/plain")


urlpatterns = [path("stats", stats), path("", include("tests.app.urls"))]
