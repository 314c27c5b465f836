"""The chat in Django's admin: settings, rooms, and what is live."""

from chat.admin.live_admin import LiveAdmin
from chat.admin.room_admin import RoomAdmin
from chat.admin.settings_admin import ChatSettingsAdmin

__all__ = ["ChatSettingsAdmin", "LiveAdmin", "RoomAdmin"]
