"""The HTTP API's paths, to be included at `api/chat-api/`. A trailing slash is accepted everywhere."""

from __future__ import annotations

from django.urls import re_path

from chat.api import tokens, views

app_name = "chat-api"

urlpatterns = [
    re_path(r"^health/?\Z", views.Health.as_view(), name="health"),
    re_path(r"^ready/?\Z", views.Ready.as_view(), name="ready"),
    re_path(r"^ws/stats/?\Z", views.Stats.as_view(), name="stats"),
    re_path(r"^rooms/?\Z", views.Rooms.as_view(), name="rooms"),
    re_path(r"^rooms/(?P<room>[^/]+)/?\Z", views.Members.as_view(), name="room"),
    re_path(r"^connections/?\Z", views.Connections.as_view(), name="connections"),
    re_path(r"^connections/close/?\Z", views.Close.as_view(), name="close"),
    re_path(r"^connections/(?P<connection>[^/]+)/?\Z", views.Connection.as_view(), name="connection"),
    re_path(r"^broadcast/?\Z", views.Broadcast.as_view(), name="broadcast"),
    re_path(r"^token/?\Z", tokens.Token.as_view(), name="token"),
    re_path(r"^token/refresh/?\Z", tokens.Refresh.as_view(), name="token-refresh"),
    re_path(r"^token/revoke/?\Z", tokens.Revoke.as_view(), name="token-revoke"),
    # The WebSocket's own paths are answered before Django is asked (chat.routing).
    re_path(r"^(?!ws(?:/|\Z))[\s\S]*\Z", views.Nothing.as_view(), name="nothing"),
]
