"""The settings row and the rooms: what they accept, and that a change can be seen."""

import json
import re
import time

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, transaction

from chat import live
from chat.models import LIMITS, TRANSPORT, Access, ChatSettings, Room
from chat.realtime.config import Config
from chat.validators import MATCH_STEPS, validate_room_name, validate_room_pattern

pytestmark = pytest.mark.django_db


def errors_of(row) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    return caught.value.message_dict


def test_migrations_are_complete():
    """The migrations make the tables that the models describe."""
    call_command("makemigrations", "chat", check=True, dry_run=True, verbosity=0)


def test_permissions_to_see_and_to_manage_what_is_live():
    """Both permissions exist, on the settings' content type."""
    found = Permission.objects.filter(content_type__app_label="chat", codename__endswith="_live")
    assert {(p.codename, p.content_type.model) for p in found} == {
        ("view_live", "chatsettings"),
        ("manage_live", "chatsettings"),
    }


def test_dumpdata(capsys):
    """A backup with dumpdata works: the live page's entry in the admin asks no table of its own."""
    ChatSettings().save()
    call_command("dumpdata", "chat")
    assert [row["model"] for row in json.loads(capsys.readouterr().out)] == [
        "chat.historicalchatsettings",
        "chat.chatsettings",
    ]


class TestSettings:
    def test_the_defaults_are_those_of_the_realtime_layer(self):
        """Without a row the same settings hold as without a database."""
        row, config = ChatSettings(), Config()
        row.full_clean()
        for name in (
            "max_message_bytes",
            "send_buffer",
            "slow_consumer_policy",
            "heartbeat_interval",
            "heartbeat_timeout",
        ):
            assert getattr(row, name) == getattr(config, name)

    def test_load_never_writes(self):
        """Reading the settings makes no row and no history."""
        assert ChatSettings.load().send_buffer == 256
        assert not ChatSettings.objects.exists()
        assert not ChatSettings.history.exists()

    def test_there_is_one_row(self):
        """Whatever is saved is saved as the one row."""
        ChatSettings(send_buffer=10).save()
        ChatSettings(send_buffer=20).save()
        assert list(ChatSettings.objects.values_list("pk", "send_buffer")) == [(1, 20)]
        assert ChatSettings.load().send_buffer == 20

    def test_the_database_holds_one_row_only(self):
        """Not even bulk_create, which saves around the model, makes a second row."""
        with pytest.raises(IntegrityError), transaction.atomic():
            ChatSettings.objects.bulk_create([ChatSettings(pk=2)])

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("max_message_bytes", [1, 65_536], [0, 65_537]),
            ("send_buffer", [1, 4096], [0, 4097]),
            ("heartbeat_interval", [1, 59], [0, 60]),
            ("heartbeat_timeout", [26, 60], [61]),
            ("presence_limit", [0, 100_000], [-1, 100_001]),
            ("max_room_members", [0, 100_000], [-1, 100_001]),
            ("max_connections", [None, 0, 1_000_000], [-1, 1_000_001]),
            ("max_rooms", [None, 0, 1_000_000], [-1, 1_000_001]),
            ("message_rate", [None, 0, 1_000_000], [-1, 1_000_001]),
            ("message_burst", [None, 1, 1_000_000], [0, 1_000_001]),
            ("user_message_burst", [None, 1, 1_000_000], [0, 1_000_001]),
            ("bytes_rate", [None, 0, 999_999_999], [-1, 1_000_000_000]),
            ("read_timeout", [None, 1, 3600], [0, 3601]),
            ("write_timeout", [None, 1, 3600], [0, 3601]),
            ("app_ping_interval", [None, 0, 3600], [-1, 3601]),
            ("compression", [None, True, False], ["perhaps"]),
            ("compression_threshold", [None, 0, 65_536], [-1, 65_537]),
            ("slow_consumer_policy", ["close", "drop_oldest", "drop_newest"], ["wait", ""]),
        ],
    )
    def test_limits(self, name, good, bad):
        """Each value has its bounds, and a value outside them an error of its own."""
        for value in good:
            ChatSettings(**{name: value}).full_clean()
        for value in bad:
            assert name in errors_of(ChatSettings(**{name: value}))

    def test_every_limit_of_the_environment_is_a_field(self, settings):
        """What the environment can say, the admin can say too, and a saved value (0 too) goes before it."""
        assert set(settings.REALTIME["LIMITS"]) == set(LIMITS)
        assert set(settings.REALTIME["TRANSPORT"]) == set(TRANSPORT)
        numbers = {name: number for number, name in enumerate(LIMITS, 7)}
        settings.REALTIME = {**settings.REALTIME, "LIMITS": numbers}
        given = settings.REALTIME["LIMITS"] | settings.REALTIME["TRANSPORT"]
        assert live.limits_of(ChatSettings()) == given
        assert live.limits_of(ChatSettings(compression=False))["compression"] is False
        assert live.limits_of(ChatSettings(message_rate=0))["message_rate"] == 0
        assert live.limits_of(ChatSettings(max_rooms=3))["max_rooms"] == 3

    @pytest.mark.parametrize(("interval", "timeout"), [(30, 30), (40, 30), (2, 2)])
    def test_a_ping_must_come_before_the_end(self, interval, timeout):
        """The interval must be shorter than the timeout; the form's error says why, once."""
        errors = errors_of(ChatSettings(heartbeat_interval=interval, heartbeat_timeout=timeout))
        assert list(errors) == ["heartbeat_interval"]
        assert f"{timeout} seconds" in errors["heartbeat_interval"][0]

    def test_the_database_refuses_a_ping_after_the_end(self):
        """Around the form, too, the interval stays shorter than the timeout."""
        with pytest.raises(IntegrityError), transaction.atomic():
            ChatSettings(heartbeat_interval=30, heartbeat_timeout=30).save()

    def test_changes_are_kept(self):
        """Each change leaves the row as it was in the history."""
        row = ChatSettings.load()
        row.save()
        row.send_buffer = 64
        row.save()
        assert list(ChatSettings.history.values_list("send_buffer", flat=True)) == [64, 256]


class TestRoomPattern:
    @pytest.mark.parametrize(
        "pattern",
        [
            "",
            "lobby",
            "lobby|team-[a-z0-9-]+",
            "^team-.*$",
            "[a-z]{2,}(-[a-z]+)?",
            r"\d+",
            r"[]\]a]+",
            "(?:dev|prod)-[a-z]+-[0-9]+",
            "a{3}",
            "(ab){2,5}",
            "x{,3}",
        ],
    )
    def test_accepted(self, pattern):
        """Ordinary expressions are fine."""
        validate_room_pattern(pattern)

    @pytest.mark.parametrize("pattern", ["(", "[a", "*", "a**", "(?P<n", "[z-a]", "\\"])
    def test_not_a_regular_expression(self, pattern):
        """What does not compile is refused, with what is wrong."""
        with pytest.raises(ValidationError, match="not a valid regular expression"):
            validate_room_pattern(pattern)

    @pytest.mark.parametrize(
        "pattern",
        [
            "(a+)+b",
            "(a|a)*b",
            "((a|a))*b",
            "(a|a){40}b",
            "(a?){40}b",
            "(a*)*",
            "([a-z]+-?)+x",
            "a*a*a*a*b",
            "(a|b)?" * 20,
            "a?" * 60 + "b",
            "(?=a)a",
            r"(a)\1",
            "(?P<x>a)(?P=x)",
            "(?i)team",
        ],
    )
    def test_too_slow_or_unknown(self, pattern):
        """What could hold a worker up, or what has no bound, is refused."""
        with pytest.raises(ValidationError):
            validate_room_pattern(pattern)

    @pytest.mark.parametrize("pattern", ["a*a*a*b", ".*.*.*=", "a?" * 19 + "b", "(a|b)?" * 9 + "c"])
    def test_the_worst_that_is_accepted_is_fast(self, pattern):
        """The dearest accepted expressions match the worst name in a few milliseconds."""
        validate_room_pattern(pattern)
        began = time.process_time()
        assert re.fullmatch(pattern, "a" * 128) is None
        assert time.process_time() - began < MATCH_STEPS / 1e7  # 100 ms

    def test_its_length_is_bounded(self):
        """A pattern has at most 200 characters."""
        ChatSettings(room_pattern="a" * 200).full_clean()
        assert "room_pattern" in errors_of(ChatSettings(room_pattern="a" * 201))


class TestRoom:
    @pytest.mark.parametrize("name", ["a", "Lobby", "a.b_c:d-e", "0", "x" * 128])
    def test_names(self, name):
        """A room's name is what the wire contract says."""
        validate_room_name(name)
        Room(name=name).full_clean()

    @pytest.mark.parametrize(
        "name", ["", "x" * 129, "a b", "a/b", "ä", "٣", "lobby\n", "\nlobby", "a\x00", "a,b"]
    )
    def test_not_names(self, name):
        """Nothing else is: no space, slash, line end, or letter beyond ASCII."""
        assert "name" in errors_of(Room(name=name))

    def test_a_name_is_taken_once(self):
        """Two rooms have two names, and capitals count."""
        Room.objects.create(name="lobby")
        Room.objects.create(name="Lobby")
        assert errors_of(Room(name="lobby"))["name"] == ["Room with this Name already exists."]

    def test_the_default_is_open_to_everyone(self):
        """A new row changes nothing for a room."""
        room = Room.objects.create(name="lobby")
        assert (room.access, room.closed, room.title) == (Access.EVERYONE, False, "")
        assert str(room) == "lobby"
        assert str(Room(name="lobby", title="The lobby")) == "The lobby (lobby)"

    @pytest.mark.parametrize(
        "change",
        [
            lambda room, ada, bob: room.members.add(ada),
            lambda room, ada, bob: room.members.remove(bob),
            lambda room, ada, bob: room.members.set([ada]),
            lambda room, ada, bob: room.members.clear(),
        ],
        ids=["add", "remove", "set", "clear"],
    )
    def test_a_change_of_members_is_a_change(self, change):
        """Whichever way members change, the room's time of change does, so that workers see it."""
        ada, bob = (User.objects.create(username=name) for name in ("ada", "bob"))
        room = Room.objects.create(name="lobby")
        room.members.add(bob)
        before = Room.objects.get().updated_at
        change(room, ada, bob)
        assert Room.objects.get().updated_at > before

    def test_members_are_in_the_history(self):
        """The history knows who was a member when."""
        ada = User.objects.create(username="ada")
        room = Room.objects.create(name="lobby")
        room.members.add(ada)
        latest, first = room.history.all()
        assert [member.user_id for member in latest.members.all()] == [ada.pk]
        assert not first.members.exists()
