"""The live page: workers, rooms and connections as they are now; close connections, announce something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.views.defaults import permission_denied

from chat.admin.live_page import PER_PAGE, Query, chosen, snapshot
from chat.api.serializers import MAX_REASON
from chat.management.output import closing_words, count
from chat.models import Live
from chat.operator import Workers
from chat.realtime.errors import LayerUnavailable
from chat.validators import ROOM_NAME_LENGTH, validate_room_name

View = Callable[[HttpRequest], HttpResponse]

LONGEST_ANNOUNCEMENT = 2000  # characters
LOG_ENTRIES = 10
GONE = "None of these connections is there any more: none was closed."
OUT_OF_REACH = "The workers can't be reached: Redis does not answer. Nothing was {}."


class CloseForm(forms.Form):
    reason = forms.CharField(
        required=False,
        max_length=MAX_REASON,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text="The clients see it. May be empty.",
    )

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        if len(reason.encode()) > MAX_REASON:
            raise forms.ValidationError(f"Must not be longer than {MAX_REASON} bytes.")
        return reason


class AnnounceForm(forms.Form):
    room = forms.CharField(
        required=False,
        max_length=ROOM_NAME_LENGTH,
        validators=[validate_room_name],
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "live-rooms", "autocomplete": "off"}),
        help_text="Empty: everybody who is connected.",
    )
    text = forms.CharField(
        label="Announcement",
        max_length=LONGEST_ANNOUNCEMENT,
        widget=forms.Textarea(attrs={"class": "vLargeTextField", "rows": 2}),
    )


@admin.register(Live)
class LiveAdmin(admin.ModelAdmin):
    """Needs chat.view_live; close and announce need chat.manage_live as well. There are no rows to edit."""

    def get_urls(self) -> list[URLPattern]:
        seeing, managing = self.has_view_permission, self.has_manage_permission
        return [
            self._url("", self.page, "changelist", seeing),
            self._url("now/", self.now, "now", seeing),
            self._url("close/", self.close, "close", managing),
            self._url("announce/", self.announce, "announce", managing),
        ]

    def _url(self, route: str, view: View, name: str, allowed: Callable[[HttpRequest], bool]) -> URLPattern:
        def guarded(request: HttpRequest) -> HttpResponse:
            if allowed(request):
                return view(request)
            # Raised, it would be logged with a traceback.
            return permission_denied(request, PermissionDenied())

        return path(route, self.admin_site.admin_view(guarded), name=f"chat_live_{name}")

    # --- who may ---------------------------------------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.has_perm("chat.view_live"))

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm("chat.manage_live")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- views -----------------------------------------------------------------------------------------

    def page(self, request: HttpRequest) -> HttpResponse:
        """The whole page; works without JavaScript."""
        return self._page(request, Query.of(request.GET), AnnounceForm())

    def now(self, request: HttpRequest) -> HttpResponse:
        """The live part alone, as HTML: what the page's script fetches every few seconds."""
        context = self._live(request, Query.of(request.GET))
        return render(request, "admin/chat/live/now.html", context)

    def close(self, request: HttpRequest) -> HttpResponse:
        """First asks to confirm, then closes: the selected connections, or everybody in a room."""
        query = Query.of(QueryDict(request.POST.get("query", "")))
        if request.method != "POST":
            return self._back(query)
        selected = request.POST.getlist("connection")[:PER_PAGE]
        room = request.POST.get("room", "")
        if not selected and not room:
            messages.warning(request, "Select the connections to close first.")
            return self._back(query)
        confirmed = "confirmed" in request.POST
        form = CloseForm(request.POST if confirmed else None)
        if confirmed and form.is_valid():
            self._close(request, selected, room, form.cleaned_data["reason"])
            return self._back(query)
        try:
            connections, total = chosen(selected, room)
        except LayerUnavailable:
            messages.error(request, OUT_OF_REACH.format("closed"))
            return self._back(query)
        if not total:
            messages.warning(request, GONE)
            return self._back(query)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Close {count(total, 'connection')}?",
            "connections": connections,
            "more": total - len(connections),
            "selected": selected,
            "room": room,
            "form": form,
            "query": query,
        }
        return render(request, "admin/chat/live/close.html", context)

    def announce(self, request: HttpRequest) -> HttpResponse:
        """Send a notification to a room or to everybody."""
        query = Query.of(QueryDict(request.POST.get("query", "")))
        if request.method != "POST":
            return self._back(query)
        form = AnnounceForm(request.POST)
        if not form.is_valid():
            return self._page(request, query, form)
        self._announce(request, form.cleaned_data["room"], form.cleaned_data["text"])
        return self._back(query)

    # --- work ------------------------------------------------------------------------------------------

    def _close(self, request: HttpRequest, selected: list[str], room: str, reason: str) -> None:
        try:
            closed = (
                Workers().close({"room": room}, reason) if room else Workers().close_each(selected, reason)
            )
        except LayerUnavailable:
            messages.error(request, OUT_OF_REACH.format("closed"))
            return
        if not closed["closed"] and not closed["left"]:
            messages.warning(request, GONE)
            return
        done = closing_words(closed)
        messages.success(request, done)
        which = f"room {room}" if room else ", ".join(selected)
        self._log(request, done, f"{done} Of: {which}." + (f" Reason: {reason}" if reason else ""))

    def _announce(self, request: HttpRequest, room: str, text: str) -> None:
        try:
            receipt = Workers().broadcast(room or None, "notification", {"content": text})
        except LayerUnavailable:
            messages.error(request, OUT_OF_REACH.format("announced"))
            return
        place = f"room {room}" if room else "everybody"
        if not receipt["workers"]:
            nobody = f"Nobody is in room {room}" if room else "Nobody is connected"
            messages.warning(request, f"{nobody}: nobody received the announcement.")
            return
        done = f"Announced to {place}: taken by {count(receipt['workers'], 'worker')}."
        messages.success(request, done)
        self._log(request, done, f"{done} {text}")

    def _log(self, request: HttpRequest, done: str, details: str) -> None:
        LogEntry.objects.create(
            user_id=int(request.user.pk or 0),
            content_type=ContentType.objects.get_for_model(Live, for_concrete_model=False),
            object_repr=done,
            action_flag=CHANGE,
            change_message=details,
        )

    def _page(self, request: HttpRequest, query: Query, form: AnnounceForm) -> HttpResponse:
        live = ContentType.objects.get_for_model(Live, for_concrete_model=False)
        context = {
            **self.admin_site.each_context(request),
            **self._live(request, query),
            "opts": self.opts,
            "title": "Live connections",
            "form": form,
            "log": LogEntry.objects.filter(content_type=live).select_related("user")[:LOG_ENTRIES],
        }
        return render(request, "admin/chat/live/page.html", context)

    def _live(self, request: HttpRequest, query: Query) -> dict[str, Any]:
        return {**snapshot(query), "may_manage": self.has_manage_permission(request)}

    def _back(self, query: Query) -> HttpResponse:
        address = reverse(f"{self.admin_site.name}:chat_live_changelist")
        encoded = query.encode(page=query.page)
        return HttpResponseRedirect(f"{address}?{encoded}" if encoded else address)
