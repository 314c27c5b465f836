"""Rooms with rules of their own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode

from chat.admin.history import HistoryAdmin
from chat.management.output import count
from chat.models import Room
from chat.validators import PASSWORD_LENGTH


class RoomForm(forms.ModelForm):
    """A room, and a password to set or clear: it is written, never shown."""

    new_password = forms.CharField(
        required=False,
        strip=False,
        max_length=PASSWORD_LENGTH,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=f"Up to {PASSWORD_LENGTH} characters; empty: as it is. Who came in with another one, or "
        "with none, is put out.",
    )
    clear_password = forms.BooleanField(required=False, label="no password", help_text="Ask for none.")

    class Meta:
        model = Room
        fields = "__all__"  # noqa: DJ007 (the admin names them)

    def clean(self) -> dict[str, Any] | None:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("new_password") and cleaned.get("clear_password"):
            self.add_error("clear_password", "Either set a password, or ask for none.")
        return cleaned

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("new_password"):
            self.instance.set_password(self.cleaned_data["new_password"])
        elif self.cleaned_data.get("clear_password"):
            self.instance.set_password(None)
        return super().save(commit)


@admin.register(Room)
class RoomAdmin(HistoryAdmin):
    form = RoomForm
    list_display = ("name", "title", "access", "asks", "members_count", "closed", "updated_at", "live")
    list_filter = ("access", "closed")
    search_fields = ("name", "title")
    ordering = ("name",)
    list_per_page = 50
    autocomplete_fields = ("members",)
    readonly_fields = ("updated_at", "asks")
    actions = ("close_rooms", "open_rooms")
    fieldsets = (
        (
            None,
            {
                "description": "A room needs no entry here to exist: without one, everyone may join it. "
                "Changes are in force on every worker within 2 seconds.",
                "fields": ("name", "title"),
            },
        ),
        ("Who may join", {"fields": ("access", "members", "closed")}),
        ("Password", {"fields": ("asks", "new_password", "clear_password")}),
        (None, {"fields": ("updated_at",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Room]:
        return super().get_queryset(request).annotate(_members=Count("members"))

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = super().get_list_display(request)
        if request.user.has_perm("chat.view_live"):
            return shown
        return [name for name in shown if name != "live"]

    @admin.display(description="members", ordering="_members")
    def members_count(self, room: Any) -> int:
        return int(room._members)

    @admin.display(description="asks for a password", boolean=True)
    def asks(self, room: Room) -> bool:
        return bool(room.password)

    @admin.display(description="connected now")
    def live(self, room: Room) -> str:
        address = reverse("admin:chat_live_changelist") + "?" + urlencode({"room": room.name})
        return format_html('<a href="{}" aria-label="Connections in {}">Show</a>', address, room.name)

    @admin.action(description="Close selected rooms", permissions=["change"])
    def close_rooms(self, request: HttpRequest, rooms: QuerySet[Room]) -> None:
        self._set_closed(request, rooms, closed=True)

    @admin.action(description="Open selected rooms", permissions=["change"])
    def open_rooms(self, request: HttpRequest, rooms: QuerySet[Room]) -> None:
        self._set_closed(request, rooms, closed=False)

    def _set_closed(self, request: HttpRequest, rooms: QuerySet[Room], *, closed: bool) -> None:
        """One by one: each gets its entry in its history and in the admin's log."""
        word = "Closed" if closed else "Opened"
        changed = 0
        for room in rooms.exclude(closed=closed):
            room.closed = closed
            room._history_user = request.user  # type: ignore[attr-defined]  # read by django-simple-history
            room.save()
            self.log_change(request, room, f"{word} from the list.")
            changed += 1
        if changed:
            self.message_user(request, f"{word} {count(changed, 'room')}.", messages.SUCCESS)
        else:
            state = "closed" if closed else "open"
            self.message_user(request, f"All selected rooms are {state} already.", messages.WARNING)
