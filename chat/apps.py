"""The Django app `chat`."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "chat"
    label = "chat"
    verbose_name = "Chat"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.conf import settings

        from chat import live, room_resource  # noqa: F401  (it registers the rooms)
        from chat.credentials import connect_signals
        from chat.realtime import checks, config, hooks  # noqa: F401  (registers them)
        from chat.resources.start import start as start_resources

        config.apply(**live.default_limits())  # until the settings were read
        config.apply(**settings.REALTIME.get("SOCKETS", {}))
        connect_signals()
        hooks.discover()
        start_resources()
