"""The example by which the layer's API is measured, as an app of its own on two real workers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from chat.realtime.testing.server import environment
from tests.kit import ChatServer, Client, serving_app
from tests.pages import ROOT

FILES = {
    "shop_settings.py": """
from chatproject.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "shops"]
""",
    "shops/__init__.py": "",
    "shops/models.py": """
from django.conf import settings
from django.db import models

class Shop(models.Model):
    slug = models.SlugField(unique=True)
    staff = models.ManyToManyField(settings.AUTH_USER_MODEL)

class Order(models.Model):
    shop = models.ForeignKey(Shop, on_delete=models.CASCADE)
    sku = models.CharField(max_length=20)
""",
    "shops/orders.py": """
from msgspec import Struct
from shops.models import Order

class OrderIn(Struct):
    sku: str

class Saved(Struct):
    pk: int
    sku: str

async def create(shop, order):
    made = await Order.objects.acreate(shop=shop, sku=order.sku)
    return Saved(made.pk, made.sku)
""",
    "shops/consumers.py": """
from chat.realtime import RealtimeConsumer, on, RateLimit
from shops import orders
from shops.models import Shop
from shops.orders import OrderIn

class OrderConsumer(RealtimeConsumer):                 # an AsyncJsonWebsocketConsumer
    \"\"\"Live orders of one shop.\"\"\"
    auth = "required"                                  # or "optional" (default), "none"
    middleware = [RateLimit("10/s")]
    subprotocols = ["orders.v1"]

    async def authorize(self):                         # before the upgrade; raise Forbidden(...) to refuse
        self.shop = await Shop.objects.aget(slug=self.url["shop"], staff=self.user)

    async def connected(self):
        await self.join(f"shop:{self.shop.pk}")

    @on("order.create", schema=OrderIn)                # a msgspec.Struct, a DRF serializer or nothing
    async def create_order(self, order: OrderIn):
        saved = await orders.create(self.shop, order)
        await self.broadcast(f"shop:{self.shop.pk}", "order.created", saved)
        return {"id": saved.pk}                        # a reply that carries the request's id
""",
    "shops/routing.py": """
from django.urls import path
from shops.consumers import OrderConsumer

websocket_urlpatterns = [path("ws/shops/<slug:shop>", OrderConsumer.as_asgi())]
""",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    """Two workers with the app, written and installed as a developer would."""
    root = tmp_path_factory.mktemp("design")
    for name, content in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    env = {"PYTHONPATH": f"{root}{os.pathsep}{ROOT}", "DJANGO_SETTINGS_MODULE": "shop_settings"}
    make(env, root)
    with serving_app(env) as server:
        yield server


def make(env: dict[str, str], root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "makemigrations", "shops"],
        cwd=ROOT,
        env=environment(root / "unused.sqlite3", "memory://", **env),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_the_example_runs_as_it_is_written(shop, connect):
    """Who may connect, a typed order, the broadcast to the shop's staff, the reply, and the rate limit."""
    ada, bob = shop.create_user("ada-of-the-shop"), shop.create_user("bob-of-nowhere")
    pk = shop.django(
        "from shops.models import Shop\nshop = Shop.objects.create(slug='tea')\n"
        "shop.staff.add(user)\nresult = shop.pk",
        user=ada.id,
    )
    url = f"ws://127.0.0.1:{shop.port}/ws/shops/tea"
    for cookie, status in ((None, 401), (bob.cookie, 404)):
        with pytest.raises(InvalidStatus) as refused:
            await Client.connect(url, cookie=cookie, welcomed=False)
        assert refused.value.response.status_code == status
    windows = [
        await connect(url, cookie=ada.cookie, subprotocols=["orders.v1"], welcomed=False) for _ in range(4)
    ]
    assert windows[0].socket.subprotocol == "orders.v1"

    await windows[0].send({"type": "order.create", "id": "o-1", "data": {"sku": "darjeeling"}})
    reply = await windows[0].expect(type="reply", id="o-1")
    for window in windows:
        created = await window.expect(type="order.created", room=f"shop:{pk}")
        assert created["data"] == {"pk": reply["data"]["id"], "sku": "darjeeling"}
        assert created["user"] == ada.shown
    await windows[0].send({"type": "order.create", "id": "o-2", "data": {"sku": 7}})
    error = await windows[0].expect(type="error", data={"code": "invalid_message", "ref": "o-2"})
    assert list(error["data"]["details"]) == ["sku"]

    await shop.adjango(
        "from chat.realtime import broadcast_room\nbroadcast_room(f'shop:{pk}', 'order.paid', {'id': 1})",
        pk=pk,
    )
    for window in windows:
        await window.expect(type="order.paid", data={"id": 1})
    for _ in range(40):
        await windows[1].send({"type": "order.create", "data": {}})
    await windows[1].expect(type="error", data={"code": "rate_limited"})
