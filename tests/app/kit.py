"""The test app in Channels' test kit: no server, the layer of this process."""

from typing import Any

from channels.testing import WebsocketCommunicator

from chat.realtime.routing import WebSocketRouter
from tests.app.routing import websocket_urlpatterns

application = WebSocketRouter(websocket_urlpatterns)


async def said(communicator: WebsocketCommunicator) -> Any:
    """The next frame."""
    return await communicator.receive_json_from(timeout=5)


async def silent(communicator: WebsocketCommunicator) -> None:
    """Prove that nothing more has come: an echo would come after it."""
    await communicator.send_json_to({"echo": "still"})
    assert await said(communicator) == {"echo": "still"}
