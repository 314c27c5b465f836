"""docs/extending.md works as it is printed: its code becomes an app, which runs on two real workers."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

import chat.realtime
from chat.realtime.testing.server import environment
from tests.kit import ChatServer, Client, serving_app
from tests.pages import DOCS, ROOT, blocks, read

PAGE = read("extending.md") + read("middleware.md") + read("streaming.md")
FILE = re.compile(r"# (orders/\w+\.py)\n")

# What the page tells to write into the project's own files, and a path for its second consumer.
PROJECT = {
    "docs_settings.py": """
from chatproject.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "orders", "feed"]
ROOT_URLCONF = "docs_urls"
""",
    "docs_urls.py": """
from django.urls import include, path
from chatproject.urls import urlpatterns as theirs
urlpatterns = [path("orders/", include("orders.urls")), *theirs]
""",
    "orders/__init__.py": "",
    "feed/__init__.py": "",
    "feed/routing.py": """
from django.urls import path
from orders.audit import Lunch
from orders.consumers import OrderConsumer
from orders.desk import DeskConsumer
from orders.export import ExportConsumer
from orders.feed import FeedConsumer

class LunchConsumer(OrderConsumer):
    middleware = [Lunch(lambda: 12)]

websocket_urlpatterns = [
    path("ws/feed", FeedConsumer.as_asgi()),
    path("ws/export", ExportConsumer.as_asgi()),
    path("ws/desk", DeskConsumer.as_asgi()),
    path("ws/lunch/<int:order>", LunchConsumer.as_asgi()),
]
""",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The page's files with their migration; the environment in which they are installed."""
    root = tmp_path_factory.mktemp("extending")
    printed = {FILE.match(block)[1]: block for block in blocks(PAGE, "python") if FILE.match(block)}
    for name, content in {**PROJECT, **printed}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    variables = {"PYTHONPATH": f"{root}{os.pathsep}{ROOT}", "DJANGO_SETTINGS_MODULE": "docs_settings"}
    run(variables, "manage.py", "makemigrations", "orders")
    assert (root / "orders" / "migrations" / "0001_initial.py").exists()
    return variables


@pytest.fixture(scope="module")
def shop(app: dict[str, str]) -> Iterator[ChatServer]:
    """A server of two workers with the app."""
    with serving_app(app) as server:
        yield server


def run(variables: dict[str, str], *arguments: str) -> None:
    """Run Python in the project's directory; it must succeed."""
    unused = Path(variables["PYTHONPATH"].split(os.pathsep)[0]) / "unused.sqlite3"
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(unused, "memory://", **variables),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def order_of(shop: ChatServer, user_id: int) -> int:
    made: int = shop.django(
        "from orders.models import Order\nresult = Order.objects.create(customer_id=user_id).pk",
        user_id=user_id,
    )
    return made


def address(shop: ChatServer, path: str) -> str:
    return shop.ws().replace("/api/chat-api/ws", path)


def post(shop: ChatServer, path: str, cookie: str) -> int:
    """The status of a POST with a session and Django's CSRF token."""
    token = "t" * 32
    headers = {"Cookie": f"{cookie}; csrftoken={token}", "X_CSRFToken": token, "Origin": shop.origin}
    return shop.request("POST", path, b"", **headers)[0]


def test_the_printed_test_passes(app):
    """The test at the end of the page, run as the page says."""
    folder = Path(app["PYTHONPATH"].split(os.pathsep)[0]) / "orders"
    run(app, "-m", "pytest", "-q", "-c", "pyproject.toml", "--rootdir", str(ROOT), str(folder))


async def test_who_may_connect(shop):
    """The customer may, other users and visitors are refused with the status that the page says."""
    ada, bob = shop.create_user("ada-1"), shop.create_user("bob-1")
    url = address(shop, f"/ws/orders/{order_of(shop, ada.id)}")
    for cookie, status in ((None, 401), (bob.cookie, 404)):
        with pytest.raises(InvalidStatus) as refused:
            await Client.connect(url, cookie=cookie, welcomed=False)
        assert refused.value.response.status_code == status
    assert shop.get(f"/ws/orders/{10**6}", Cookie=ada.cookie, Origin=shop.origin)[0] == 404


async def test_news_of_an_order(shop, connect):
    """A payment in a view, a note of another window, an announcement and a shell reach the customer."""
    ada = shop.create_user("ada-2")
    staff = shop.create_user("staff-2", is_staff=True)
    order = order_of(shop, ada.id)
    url = address(shop, f"/ws/orders/{order}")
    first, second = [await connect(url, cookie=ada.cookie, welcomed=False) for _ in range(2)]
    for window in (first, second):
        await window.expect(type="order.state", data={"paid": False})

    assert post(shop, f"/orders/{order}/pay", ada.cookie) == 204
    for window in (first, second):
        await window.expect(type="order.paid", data={"id": order}, room=f"orders/{order}")
    third = await connect(url, cookie=ada.cookie, welcomed=False)
    await third.expect(type="order.state", data={"paid": True})

    await first.send({"type": "order.note", "data": {"text": "to the back door"}})
    noted = await second.expect(type="order.noted", data={"text": "to the back door"})
    assert noted["user"] == ada.shown
    await first.send({"type": "order.note", "id": "n-1"})
    await first.expect(type="error", data={"code": "invalid_message", "ref": "n-1"})

    assert post(shop, "/orders/announce", ada.cookie) == 403
    assert post(shop, "/orders/announce", staff.cookie) == 200
    await second.expect(type="notification", data={"content": "Half price until noon"})

    shell = next(
        block for block in blocks(PAGE, "python") if block.startswith("# in `python manage.py shell`")
    )
    assert "send_to_user(1," in shell
    await shop.adjango(shell.replace("send_to_user(1,", f"send_to_user({ada.id},"))
    await first.expect(type="order.shipped", data={"id": 7})


async def test_the_chat_does_not_hear_it(shop, connect):
    """A room with a slash is none of the chat's: nobody gets into it through the chat's endpoints."""
    for path in (
        "/api/chat-api/ws/orders/1",
        "/api/chat-api/ws/orders%2F1",
        "/api/chat-api/ws?room=orders/1",
    ):
        with pytest.raises(InvalidStatus) as refused:
            await Client.connect(address(shop, path))
        assert refused.value.response.status_code == 404


async def test_the_channels_way(shop, connect):
    """The second consumer: its `groups`, `receive_json` and event handler, on every worker; staff only."""
    staff, visitor = shop.create_user("staff-3", is_staff=True), shop.create_user("ada-3")
    url = address(shop, "/ws/feed")
    windows = [await connect(url, cookie=staff.cookie, welcomed=False) for _ in range(6)]
    await windows[0].send({"any": ["JSON"]})
    for window in windows:
        assert await window.next() == {"news": {"any": ["JSON"]}}
    with pytest.raises(InvalidStatus) as refused:
        await Client.connect(url, cookie=visitor.cookie, welcomed=False)
    assert refused.value.response.status_code == 403


async def test_typed_data_replies_and_binary_frames(shop, connect):
    """The desk: checked objects, values as replies, details of what is wrong, subprotocols, binary frames."""
    ada = shop.create_user("ada-4")
    order = order_of(shop, ada.id)
    desk = await connect(address(shop, "/ws/desk"), subprotocols=["desk.v1", "desk.v2"], welcomed=False)
    basket = {"lines": [{"sku": "a", "quantity": 2}, {"sku": "b"}]}
    await desk.send({"type": "basket.sum", "id": 1, "data": basket})
    await desk.expect(type="reply", id=1, data={"items": 3, "speaks": "desk.v2"})
    await desk.send({"type": "basket.sum", "id": 2, "data": {"lines": [{"sku": "a", "quantity": 100}]}})
    error = await desk.expect(type="error", data={"code": "invalid_message", "ref": 2})
    assert error["data"]["details"] == {"lines[0].quantity": ["Expected `int` <= 99"]}
    await desk.send({"type": "order.find", "id": "f", "data": {"order": order}})
    await desk.expect(type="reply", id="f", data={"paid": False, "asked": "f"})
    await desk.send({"type": "order.find", "id": "g", "data": {"order": 10**6}})
    error = await desk.expect(type="error", data={"code": "invalid_message", "ref": "g"})
    assert list(error["data"]["details"]) == ["order"]
    await desk.send(b"picture")
    await desk.expect(type="reply", data={"bytes": 7, "kind": "BINARY"})


async def test_middleware_and_hooks(shop, connect):
    """Lunch refuses, then closes; hooks count visits, refuse a note and change what is published."""
    ada = shop.create_user("ada-5")
    order = order_of(shop, ada.id)
    window = await connect(address(shop, f"/ws/orders/{order}"), cookie=ada.cookie, welcomed=False)
    await window.send({"type": "order.note", "id": "n", "data": {"text": "LOUD"}})
    await window.expect(type="error", data={"code": "forbidden", "ref": "n"})
    await window.send({"type": "order.note", "data": {"text": "7 €"}})
    await window.expect(type="order.noted", data={"text": "7 *"})
    visits = "from orders.models import Visit\nresult = Visit.objects.filter(order_id=order).count()"
    assert await shop.adjango(visits, order=order) == 1
    late = await connect(address(shop, f"/ws/lunch/{order}"), cookie=ada.cookie, welcomed=False)
    for _ in range(2):
        await late.send({"type": "order.note", "data": {"text": "soup"}})
        await late.expect(type="error", data={"code": "busy", "retry_after": 3600})
    await late.send({"type": "order.note", "data": {"text": "soup"}})
    assert await late.closed() == (4500, "not at lunch")


async def test_streams(shop, connect):
    """The export: rows as chunks by `yield` and from a query set, an error, a stream that is cancelled."""
    ada, bob = shop.create_user("ada-6"), shop.create_user("bob-6")
    orders = [order_of(shop, ada.id) for _ in range(3)]
    window = await connect(address(shop, "/ws/export"), cookie=ada.cookie, welcomed=False)
    for kind in ("orders.export", "orders.list"):
        await window.send({"type": kind, "id": kind})
        await window.expect(type="stream.end", id=kind, data={"chunks": 3})
        chunks = [frame["data"] for frame in window.received if frame["id"] == kind][1:-1]
        rows = [{"id": order, "paid": False} for order in orders]
        assert chunks == [{"seq": seq, "data": row} for seq, row in enumerate(rows)]
    other = await connect(address(shop, "/ws/export"), cookie=bob.cookie, welcomed=False)
    await other.send({"type": "orders.export", "id": "e-1"})
    await other.expect(type="stream.error", id="e-1", data={"code": "nothing_to_export", "chunks": 0})
    await other.send({"type": "stream.cancel", "data": {"ref": "e-1"}})
    await other.send({"type": "orders.list", "id": "e-2"})
    await other.expect(type="stream.end", id="e-2", data={"chunks": 0})
    assert [frame for frame in other.received if frame["type"] == "error"] == []


def test_every_public_name_is_told():
    """What chat.realtime exports is on some page."""
    pages = "".join([page.read_text() for page in DOCS.glob("*.md")])
    for name in chat.realtime.__all__:
        assert re.search(rf"\b{name}\b", pages), name
