"""The admin's pages, in one process; tests/test_admin_live.py has the live page on real servers."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from chat.models import Access, ChatSettings, Room

SETTINGS = "/admin/chat/chatsettings/1/change/"
ROOMS = "/admin/chat/room/"

pytestmark = pytest.mark.django_db


def client_with(*permissions: str, staff: bool = True) -> Client:
    """A signed-in browser of somebody with these permissions of the chat alone."""
    user = User.objects.create(username=f"user-{User.objects.count()}", is_staff=staff)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="chat", codename__in=permissions)
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin(admin_client) -> Client:
    return admin_client


def form(**changes) -> dict:
    """The settings form as the page posts it."""
    row = ChatSettings()
    names = [field.name for field in row._meta.fields if field.name not in ("id", "updated_at")]
    values = {name: getattr(row, name) for name in names} | changes
    shown = {name: "" if value is None else value for name, value in values.items() if value is not False}
    return {name: "on" if value is True else value for name, value in shown.items()}


def text_of(response) -> str:
    """The words of a page, without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


class TestSettings:
    def test_one_form(self, admin):
        """The entry in the admin leads to the one form there is, before anything was ever saved too."""
        response = admin.get("/admin/chat/chatsettings/", follow=True)
        assert response.redirect_chain == [(SETTINGS, 302)]
        assert response.status_code == 200
        assert not ChatSettings.objects.exists()

    def test_nothing_to_add_or_delete(self, admin):
        """There is no second row, and no way to lose the first."""
        assert admin.get("/admin/chat/chatsettings/add/").status_code == 403
        assert admin.post("/admin/chat/chatsettings/1/delete/", {"post": "yes"}).status_code == 403
        assert admin.get("/admin/chat/chatsettings/2/change/").status_code == 302

    def test_saving(self, admin, admin_user):
        """A valid form is saved as the row; history and log know who did it."""
        response = admin.post(SETTINGS, form(auth_required=True, send_buffer=64, room_pattern="team-.*"))
        assert response.status_code == 302
        row = ChatSettings.objects.get()
        assert (row.pk, row.auth_required, row.send_buffer, row.room_pattern) == (1, True, 64, "team-.*")
        assert row.history.first().history_user == admin_user
        assert "Send buffer" in LogEntry.objects.get().get_change_message()

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"heartbeat_interval": 60}, "59"),
            ({"heartbeat_interval": 30, "heartbeat_timeout": 30}, "Must be less than the 30 seconds"),
            ({"max_message_bytes": 65_537}, "65536"),
            ({"send_buffer": 0}, "greater than or equal to 1"),
            ({"send_buffer": ""}, "This field is required"),
            ({"slow_consumer_policy": "wait"}, "not one of the available choices"),
            ({"room_pattern": "("}, "not a valid regular expression"),
            ({"room_pattern": "(a+)+"}, "A group that is repeated"),
            ({"presence_limit": -1}, "greater than or equal to 0"),
            ({"message_burst": 0}, "greater than or equal to 1"),
            ({"max_connections": 1_000_001}, "less than or equal to 1000000"),
            ({"connect_rate": "1.5"}, "Enter a whole number"),
        ],
    )
    def test_errors_in_words(self, admin, changes, words):
        """What is wrong is said at the field, and nothing is saved."""
        response = admin.post(SETTINGS, form(**changes))
        assert response.status_code == 200
        assert words in text_of(response)
        assert not ChatSettings.objects.exists()

    def test_the_environment_wins(self, admin, settings):
        """With AUTH_ENABLED=true the form says that a sign-in is required anyhow."""
        says = "is set in the server’s environment: a sign-in is required, whatever is set here."
        settings.AUTH_ENABLED = False
        assert says not in text_of(admin.get(SETTINGS))
        settings.AUTH_ENABLED = True
        assert says in text_of(admin.get(SETTINGS))

    def test_an_empty_limit_is_the_environment_s(self, admin, settings):
        """A limit may be left empty; its field then shows what the environment says."""
        limits = {**settings.REALTIME["LIMITS"], "message_rate": 17}
        settings.REALTIME = {**settings.REALTIME, "LIMITS": limits}
        assert admin.post(SETTINGS, form(message_burst=30)).status_code == 302
        row = ChatSettings.objects.get()
        assert (row.message_rate, row.message_burst) == (None, 30)
        page = admin.get(SETTINGS).content.decode()
        assert re.search(r'<input[^>]*name="message_rate"[^>]*placeholder="17"', page)
        assert "MESSAGE_RATE says in the server" in page

    def test_history(self, admin, admin_user):
        """The history shows what changed, from which value to which, the first change included."""
        admin.post(SETTINGS, form(send_buffer=64))
        admin.post(SETTINGS, form(send_buffer=64, slow_consumer_policy="drop_oldest", room_pattern="x"))
        response = admin.get("/admin/chat/chatsettings/1/history/")
        shown = text_of(response)
        assert "Send buffer: 256 → 64" in shown
        assert "Allowed room names: (empty) → x" in shown
        assert "client may come back → Drop the oldest message" in shown
        assert "The defaults" in shown
        assert admin_user.username in shown
        assert " style=" not in response.content.decode()  # the Content-Security-Policy would refuse it

    def test_going_back(self, admin):
        """An earlier version can be brought back."""
        admin.post(SETTINGS, form(send_buffer=64))
        admin.post(SETTINGS, form(send_buffer=32))
        version = ChatSettings.history.get(send_buffer=64)
        address = reverse("admin:chat_chatsettings_simple_history", args=(1, version.pk))
        assert admin.get(address).status_code == 200
        admin.post(address, form(send_buffer=64))
        assert ChatSettings.objects.get().send_buffer == 64

    def test_viewing_only(self, admin):
        """Who may only view the settings can change them neither in the form nor through an old version."""
        admin.post(SETTINGS, form(send_buffer=64))
        client = client_with("view_chatsettings")
        assert client.get(SETTINGS).status_code == 200
        assert client.get("/admin/chat/chatsettings/1/history/").status_code == 200
        assert client.post(SETTINGS, form(send_buffer=32)).status_code == 403
        version = ChatSettings.history.first()
        address = reverse("admin:chat_chatsettings_simple_history", args=(1, version.pk))
        assert client.get(address).status_code == 200
        assert client.post(address, form(send_buffer=32)).status_code == 403
        assert ChatSettings.objects.get().send_buffer == 64

    def test_without_permission(self):
        """Other staff see nothing of it."""
        client = client_with()
        assert client.get(SETTINGS).status_code == 403
        assert "chatsettings" not in client.get("/admin/").content.decode()


class TestLive:
    def test_where_no_server_runs(self, admin):
        """With the in-memory layer, a process that serves no WebSockets says that it sees none."""
        assert "This process serves no WebSockets." in text_of(admin.get("/admin/chat/live/"))


class TestRooms:
    @pytest.fixture
    def rooms(self):
        return [
            Room.objects.create(name="lobby", title="The lobby"),
            Room.objects.create(name="staff", access=Access.MEMBERS),
            Room.objects.create(name="attic", closed=True),
        ]

    def shown(self, response) -> list[str]:
        return [room.name for room in response.context["cl"].result_list]

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", ["attic", "lobby", "staff"]),
            ("?q=lob", ["lobby"]),
            ("?q=THE+LOBBY", ["lobby"]),
            ("?access__exact=members", ["staff"]),
            ("?closed__exact=1", ["attic"]),
        ],
    )
    def test_the_list(self, admin, rooms, query, names):
        """Rooms can be searched by name and title, and filtered by access and whether closed."""
        assert self.shown(admin.get(ROOMS + query)) == names

    def test_adding(self, admin, django_user_model):
        """A room is made with its members; members are looked up, not listed."""
        ada = django_user_model.objects.create(username="ada")
        page = admin.get(ROOMS + "add/").content.decode()
        assert "admin-autocomplete" in page
        assert ">ada<" not in page
        found = admin.get(
            "/admin/autocomplete/",
            {"term": "ad", "app_label": "chat", "model_name": "room", "field_name": "members"},
        )
        assert str(ada.pk) in [result["id"] for result in found.json()["results"]]
        response = admin.post(ROOMS + "add/", {"name": "team", "access": "members", "members": [ada.pk]})
        assert response.status_code == 302
        assert list(Room.objects.get(name="team").members.all()) == [ada]

    def test_a_bad_name(self, admin):
        """A bad name is refused in words."""
        response = admin.post(ROOMS + "add/", {"name": "a b", "access": "everyone"})
        assert "letters (A to Z, a to z), digits and . _ : - only" in text_of(response)

    def test_closing_and_opening(self, admin, rooms, admin_user):
        """The actions close and open rooms, say how many, and leave their mark in history and log."""
        chosen = [room.pk for room in rooms]

        def act(action):
            posted = {"action": action, "_selected_action": chosen}
            return text_of(admin.post(ROOMS, posted, follow=True))

        assert "Closed 2 rooms." in act("close_rooms")  # the third was closed
        assert not Room.objects.filter(closed=False).exists()
        latest = rooms[0].history.first()
        assert (latest.closed, latest.history_user) == (True, admin_user)
        assert LogEntry.objects.filter(change_message="Closed from the list.").count() == 2
        assert "All selected rooms are closed already." in act("close_rooms")
        assert "Opened 3 rooms." in act("open_rooms")

    def test_viewing_only(self, rooms):
        """Who may only view rooms has no actions."""
        client = client_with("view_room")
        assert 'name="action"' not in client.get(ROOMS).content.decode()
        client.post(ROOMS, {"action": "close_rooms", "_selected_action": [rooms[0].pk]})
        assert not Room.objects.get(name="lobby").closed

    def test_history(self, admin, rooms):
        """A room's history shows what changed."""
        address = f"{ROOMS}{rooms[0].pk}/"
        admin.post(address + "change/", {"name": "lobby", "title": "Lobby", "access": "signed_in"})
        shown = text_of(admin.get(address + "history/"))
        assert "Title: The lobby → Lobby" in shown
        assert "Who may join: Everyone → Signed-in users" in shown

    def test_the_way_to_who_is_there(self, rooms):
        """Each room leads to its connections, for those who may see these."""
        link = "/admin/chat/live/?room=lobby"
        assert link in client_with("view_room", "view_live").get(ROOMS).content.decode()
        assert link not in client_with("view_room").get(ROOMS).content.decode()
