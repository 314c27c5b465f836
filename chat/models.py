"""What an operator sets while the service runs: the chat's settings, and rooms.

Each worker reads both tables every second (`chat.live`), so a saved row is in force on every worker within
two seconds. No message is stored.
"""

from __future__ import annotations

from typing import Any, Self

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.signals import m2m_changed
from django.dispatch import receiver
from django.utils import timezone
from simple_history.models import HistoricalRecords

from chat.realtime.config import LARGEST_MESSAGE, Config
from chat.validators import (
    ROOM_NAME_LENGTH,
    ROOM_PATTERN_LENGTH,
    validate_room_name,
    validate_room_pattern,
)

LONGEST_TIMEOUT = 60  # seconds: a dead peer is gone within so many (docs/protocol.md, "Limits")
LARGEST_BUFFER = 4096  # messages
LARGEST_ROOM = 100_000  # members

DEFAULTS = Config()


LARGEST_LIMIT = 1_000_000  # connections, messages or rooms
LONGEST_DEADLINE = 3600  # seconds
LARGEST_BYTES_RATE = 999_999_999

# Fields that may be empty: then what the server's environment says holds (settings.REALTIME["LIMITS"]).
LIMITS = {
    "max_connections": "MAX_CONNECTIONS",
    "max_connections_per_worker": "MAX_CONNECTIONS_PER_WORKER",
    "max_connections_per_address": "MAX_CONNECTIONS_PER_ADDRESS",
    "max_connections_per_user": "MAX_CONNECTIONS_PER_USER",
    "connect_rate": "CONNECT_RATE",
    "max_rooms": "MAX_ROOMS_PER_CONNECTION",
    "message_rate": "MESSAGE_RATE",
    "message_burst": "MESSAGE_BURST",
    "user_message_rate": "USER_MESSAGE_RATE",
    "user_message_burst": "USER_MESSAGE_BURST",
    "bytes_rate": "BYTES_RATE",
}

# The same for the wire (settings.REALTIME["TRANSPORT"]).
TRANSPORT = {
    "read_timeout": "READ_TIMEOUT",
    "write_timeout": "WRITE_TIMEOUT",
    "app_ping_interval": "APP_PING_INTERVAL",
    "compression": "COMPRESSION",
    "compression_threshold": "COMPRESSION_THRESHOLD",
}


def _limit(
    label: str, variable: str, words: str, low: int = 0, high: int = LARGEST_LIMIT, zero: str = "no limit"
) -> Any:
    """A limit's field."""
    none = "" if low else f" 0: {zero}."
    return models.PositiveIntegerField(
        label,
        null=True,
        blank=True,
        validators=[MinValueValidator(low), MaxValueValidator(high)],
        help_text=f"{words}{none} Empty: what {variable} says in the server's environment.",
    )


class SlowConsumerPolicy(models.TextChoices):
    """What happens to a client that reads too slowly, once its send buffer is full."""

    CLOSE = "close", "Close the connection (code 4413); the client may come back"
    DROP_OLDEST = "drop_oldest", "Drop the oldest message that waits"
    DROP_NEWEST = "drop_newest", "Drop the message that does not fit"


class ChatSettings(models.Model):
    """The one row of settings. `load` reads it; where there is none yet, the defaults hold."""

    auth_required = models.BooleanField(
        "sign-in required",
        default=False,
        help_text="Only signed-in users may connect. AUTH_ENABLED=true in the server's environment wins: "
        "then a sign-in is always required, whatever is set here.",
    )
    max_message_bytes = models.PositiveIntegerField(
        "largest message",
        default=DEFAULTS.max_message_bytes,
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST_MESSAGE)],
        help_text=f"Bytes, 1 to {LARGEST_MESSAGE:,}. A larger message closes the connection (code 1009).",
    )
    send_buffer = models.PositiveIntegerField(
        "send buffer",
        default=DEFAULTS.send_buffer,
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST_BUFFER)],
        help_text=f"Messages, 1 to {LARGEST_BUFFER:,}: how many may wait for one slow client.",
    )
    slow_consumer_policy = models.CharField(
        "when the send buffer is full",
        max_length=16,
        choices=SlowConsumerPolicy,
        default=SlowConsumerPolicy.CLOSE,
        help_text="Nobody else ever waits for a slow client. Dropped messages are counted.",
    )
    heartbeat_interval = models.PositiveIntegerField(
        "ping after",
        default=int(DEFAULTS.heartbeat_interval),
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_TIMEOUT - 1)],
        help_text="Seconds of silence after which a client is pinged; less than the time below.",
    )
    heartbeat_timeout = models.PositiveIntegerField(
        "give up after",
        default=int(DEFAULTS.heartbeat_timeout),
        validators=[MinValueValidator(2), MaxValueValidator(LONGEST_TIMEOUT)],
        help_text=f"Seconds of silence, at most {LONGEST_TIMEOUT}, after which a client is gone (code 4408).",
    )
    presence_limit = models.PositiveIntegerField(
        "presence in rooms up to",
        default=100,
        validators=[MaxValueValidator(LARGEST_ROOM)],
        help_text="Members. In larger rooms nobody is told who comes and goes. 0: in no room.",
    )
    max_room_members = models.PositiveIntegerField(
        "largest room",
        default=0,
        validators=[MaxValueValidator(LARGEST_ROOM)],
        help_text="Members on all workers. A room that is full refuses more (429). 0: no limit.",
    )
    room_pattern = models.CharField(
        "allowed room names",
        max_length=ROOM_PATTERN_LENGTH,
        blank=True,
        default="",
        validators=[validate_room_pattern],
        help_text="A regular expression that the whole name must match, for example lobby|team-[a-z0-9-]+. "
        "Other names are refused (404). Empty: every valid name is allowed.",
    )
    max_connections = _limit(
        "connections in all", "MAX_CONNECTIONS", "On all workers. More are refused (503 server_full)."
    )
    max_connections_per_worker = _limit(
        "connections of a worker",
        "MAX_CONNECTIONS_PER_WORKER",
        "A worker that has so many refuses more (503 server_full); another one may take them.",
    )
    max_connections_per_address = _limit(
        "connections of an address",
        "MAX_CONNECTIONS_PER_ADDRESS",
        "On all workers. More are refused (429 too_many_connections). A company or a school may share one.",
    )
    max_connections_per_user = _limit(
        "connections of a user",
        "MAX_CONNECTIONS_PER_USER",
        "On all workers, of one signed-in user. More are refused (429 too_many_connections).",
    )
    connect_rate = _limit(
        "connects a second",
        "CONNECT_RATE",
        "Of one address, on all workers; ten seconds' worth at once. More are refused "
        "(429 too_many_connections).",
    )
    max_rooms = _limit(
        "rooms of a connection",
        "MAX_ROOMS_PER_CONNECTION",
        "That one connection may be in at the same time.",
    )
    message_rate = _limit(
        "messages a second",
        "MESSAGE_RATE",
        "Of one connection, in the long run. More are refused (error rate_limited); "
        "who goes on is closed (code 4429).",
    )
    message_burst = _limit(
        "messages at once", "MESSAGE_BURST", "Of one connection, after a pause: at least 1.", low=1
    )
    user_message_rate = _limit(
        "messages a second of a user",
        "USER_MESSAGE_RATE",
        "Of one signed-in user on all connections and workers. Costs a question to Redis for each message.",
    )
    user_message_burst = _limit(
        "messages at once of a user",
        "USER_MESSAGE_BURST",
        "Of one signed-in user, after a pause: at least 1.",
        low=1,
    )
    bytes_rate = _limit(
        "bytes a second",
        "BYTES_RATE",
        "Of one connection's messages, in the long run; ten seconds' worth at once, and always one message.",
        high=LARGEST_BYTES_RATE,
    )
    read_timeout = _limit(
        "a message takes at most",
        "READ_TIMEOUT",
        "Seconds from its first byte to its last. A client that drips is closed (code 4408).",
        low=1,
        high=LONGEST_DEADLINE,
    )
    write_timeout = _limit(
        "nothing taken for at most",
        "WRITE_TIMEOUT",
        "Seconds in which a client takes no byte of what is sent to it. It is closed (code 4413).",
        low=1,
        high=LONGEST_DEADLINE,
    )
    app_ping_interval = _limit(
        "ping messages every",
        "APP_PING_INTERVAL",
        "Seconds between two messages of type ping, beside the protocol's own pings.",
        high=LONGEST_DEADLINE,
        zero="none",
    )
    compression = models.BooleanField(
        null=True,
        blank=True,
        help_text="Whether messages are compressed for clients that offer it (permessage-deflate); for those "
        "who connect from now on. Unknown: what COMPRESSION says in the server's environment.",
    )
    compression_threshold = _limit(
        "compress from",
        "COMPRESSION_THRESHOLD",
        "Bytes. Smaller messages are sent as they are.",
        high=LARGEST_MESSAGE,
        zero="all",
    )
    updated_at = models.DateTimeField("changed", auto_now=True)

    history = HistoricalRecords(excluded_fields=["updated_at"])

    class Meta:
        verbose_name = verbose_name_plural = "chat settings"
        default_permissions = ("change", "view")
        permissions = [
            ("view_live", "Can see live connections, rooms and workers"),
            ("manage_live", "Can close connections and send announcements"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(pk=1), name="chat_settings_one_row"),
            models.CheckConstraint(
                condition=models.Q(heartbeat_interval__lt=models.F("heartbeat_timeout")),
                name="chat_settings_ping_before_timeout",
            ),
        ]

    def __str__(self) -> str:
        return "Chat settings"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save as the one row there is."""
        self.pk = 1
        super().save(*args, **kwargs)

    @classmethod
    def load(cls) -> Self:
        """The settings: the row, or the defaults (unsaved) where there is none. Reads, never writes."""
        return cls.objects.filter(pk=1).first() or cls(pk=1)

    def clean(self) -> None:
        super().clean()
        interval, timeout = self.heartbeat_interval, self.heartbeat_timeout
        if interval is not None and timeout is not None and interval >= timeout:
            raise ValidationError(
                {
                    "heartbeat_interval": f"Must be less than the {timeout} seconds after which a client is "
                    "given up, or no client could answer its ping in time."
                }
            )


class Access(models.TextChoices):
    """Who may join a room."""

    EVERYONE = "everyone", "Everyone"
    SIGNED_IN = "signed_in", "Signed-in users"
    MEMBERS = "members", "Its members only"


class Room(models.Model):
    """A room with rules of its own. A room needs no row to exist: without one, everyone may join it."""

    name = models.CharField(
        max_length=ROOM_NAME_LENGTH,
        unique=True,
        validators=[validate_room_name],
        help_text="As in the room's address: letters (A to Z, a to z), digits and . _ : - only.",
    )
    title = models.CharField(
        max_length=120, blank=True, default="", help_text="A name for people. May be empty."
    )
    access = models.CharField(
        "who may join",
        max_length=16,
        choices=Access,
        default=Access.EVERYONE,
        help_text="Where sign-in is required for the whole chat, “everyone” means everyone who is signed in.",
    )
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        related_name="+",  # changed from the user's side, django-simple-history could not record it
        help_text="Who may join a room that is for its members only.",
    )
    # Django's hash of it, never the password itself; set by `set_password`.
    password = models.CharField(max_length=255, blank=True, default="", editable=False)
    closed = models.BooleanField(
        default=False, help_text="Nobody may join. Those who are in the room are put out of it (code 4503)."
    )
    updated_at = models.DateTimeField("changed", auto_now=True)

    history = HistoricalRecords(excluded_fields=["updated_at", "password"], m2m_fields=[members])

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.title} ({self.name})" if self.title else self.name

    def set_password(self, password: str | None) -> None:
        """Have the room ask for a password from now on, or (None, or empty) for none; save afterwards.

        Takes 0.1 to 0.5 s. Those who came in with another one are put out within 2 seconds.
        """
        self.password = make_password(password) if password else ""


@receiver(m2m_changed, sender=Room.members.through)
def _members_changed(instance: models.Model, action: str, **_: Any) -> None:
    """A change of its members changes the room: `updated_at` says so, as for any other change."""
    if action in ("post_add", "post_remove", "post_clear"):
        Room.objects.filter(pk=instance.pk).update(updated_at=timezone.now())


class Live(ChatSettings):
    """The admin's entry for the live page: workers, rooms and connections. It has no table of its own."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = "live connections"

    def __str__(self) -> str:
        return "Live connections"
