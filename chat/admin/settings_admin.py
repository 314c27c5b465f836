"""The one row of settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from simple_history.utils import update_change_reason

from chat import live
from chat.admin.history import HistoryAdmin
from chat.models import LIMITS, TRANSPORT, ChatSettings

IN_FORCE = "Changes are in force on every worker within 2 seconds, without a restart."
ALWAYS_REQUIRED = (
    "AUTH_ENABLED=true is set in the server’s environment: a sign-in is required, whatever is set here."
)
LIMITS_HELD = "A number in grey is the environment’s: it holds while the field is empty."


@admin.register(ChatSettings)
class ChatSettingsAdmin(HistoryAdmin):
    """A single form: there is nothing to add, to delete or to choose from."""

    readonly_fields = ("updated_at",)
    empty_value_display = "never: these are the defaults"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            ("Who may connect", {"description": self._who(), "fields": ["auth_required"]}),
            (
                "Messages",
                {"fields": ["max_message_bytes", "send_buffer", "slow_consumer_policy"]},
            ),
            (
                "Heartbeat",
                {
                    "description": "How clients are found that have gone without a word.",
                    "fields": ["heartbeat_interval", "heartbeat_timeout"],
                },
            ),
            (
                "The wire",
                {
                    "description": LIMITS_HELD,
                    "fields": [
                        "read_timeout",
                        "write_timeout",
                        "app_ping_interval",
                        "compression",
                        "compression_threshold",
                    ],
                },
            ),
            (
                "Rooms",
                {
                    "description": "For all rooms. Rules of a single room are among the rooms.",
                    "fields": ["room_pattern", "max_room_members", "presence_limit"],
                },
            ),
            (
                "Limits on connections",
                {
                    "description": LIMITS_HELD,
                    "fields": [
                        "max_connections",
                        "max_connections_per_worker",
                        "max_connections_per_address",
                        "max_connections_per_user",
                        "connect_rate",
                        "max_rooms",
                    ],
                },
            ),
            (
                "Limits on messages",
                {
                    "description": LIMITS_HELD,
                    "fields": [
                        "message_rate",
                        "message_burst",
                        "bytes_rate",
                        "user_message_rate",
                        "user_message_burst",
                    ],
                },
            ),
            (None, {"fields": ["updated_at"]}),
        ]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A limit's empty field shows what holds then."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in (*LIMITS, *TRANSPORT):
            field.widget.attrs["placeholder"] = str(live.default_limits()[db_field.name])
        return field

    def _who(self) -> str:
        return f"{ALWAYS_REQUIRED} {IN_FORCE}" if settings.AUTH_ENABLED else IN_FORCE

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:chat_chatsettings_change", args=(1,)))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The row, or the defaults that hold while there is none."""
        return ChatSettings.load() if object_id == "1" else None

    def save_model(self, request: HttpRequest, obj: ChatSettings, form: ModelForm, change: bool) -> None:
        if not ChatSettings.objects.exists():
            # So that the history shows what the first change changed.
            defaults = ChatSettings()
            defaults.save()
            update_change_reason(defaults, "The defaults")
        super().save_model(request, obj, form, change)
