"""The Django app `chat`."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"
    label = "chat"
    verbose_name = "Chat"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from chat.credentials import connect_signals
        from chat.realtime import checks  # noqa: F401  (registers them)

        connect_signals()
