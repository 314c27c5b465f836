"""A client of the resource protocol: requests that wait for their own response, notifications in order."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Self

from chat.realtime import testing
from chat.realtime.testing import RealtimeServer

RESOURCES = "/api/resources/ws"

Open = Callable[..., Awaitable["ResourceClient"]]  # the fixture ``resources``

_numbers = itertools.count(1)


class Refusal(AssertionError):
    """A request was refused: ``code`` and the whole ``error``."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error)
        self.code = error["code"]
        self.error = error


class ResourceClient(testing.Client):
    """One connection to the resource endpoint."""

    @classmethod
    async def open(cls, server: RealtimeServer, **options: Any) -> Self:
        return await cls.connect(server.websocket(RESOURCES), **options)

    async def ask(self, operation: str, entity: str | None = None, **keys: Any) -> dict[str, Any]:
        """Send a message and wait for its response, whatever it says."""
        kind = "subscription" if operation in ("subscribe", "unsubscribe") else "request"
        ident = keys.pop("id", f"r-{next(_numbers)}")
        message = {"id": ident, "type": kind, "operation": operation, **keys}
        if entity is not None:
            message["entity"] = entity
        await self.send(message)
        return await self.expect(type="response", id=ident)

    async def do(self, operation: str, entity: str | None = None, **keys: Any) -> Any:
        """The response's data. Raises Refusal."""
        response = await self.ask(operation, entity, **keys)
        if not response["success"]:
            raise Refusal(response["error"])
        return response.get("data")

    async def refused(self, operation: str, entity: str | None = None, **keys: Any) -> dict[str, Any]:
        """The error of a request that must be refused."""
        response = await self.ask(operation, entity, **keys)
        assert response["success"] is False, response
        error: dict[str, Any] = response["error"]
        return error

    async def subscribe_many(self, entity: str, many: list[dict[str, Any]]) -> list[str]:
        """Subscribe with each of these options, all requests at once; the subscriptions' ids."""
        numbers = [f"s-{next(_numbers)}" for _ in many]
        for number, options in zip(numbers, many, strict=True):
            message = {"id": number, "type": "subscription", "operation": "subscribe", "entity": entity}
            await self.send({**message, "options": options})
        answers = [await self.expect(type="response", id=number) for number in numbers]
        return [answer["data"]["subscription_id"] for answer in answers]

    async def subscribe(self, entity: str, **options: Any) -> str:
        """Subscribe with these options; the subscription's id."""
        ident: str = (await self.do("subscribe", entity, options=options))["subscription_id"]
        return ident

    async def told(self, operation: str, subscription: str | None = None, **wanted: Any) -> dict[str, Any]:
        """The next notification, which must be of this operation."""
        if subscription is not None:
            wanted["subscription_id"] = subscription
        return await self.expect(type="notification", operation=operation, **wanted)

    async def round_trip(self) -> None:
        """Wait for a pong: all that was sent before is here."""
        number = f"p-{next(_numbers)}"
        await self.send({"id": number, "type": "ping"})
        await self.expect(type="pong", id=number)

    async def notifications(self) -> list[dict[str, Any]]:
        """All unread notifications that came before now."""
        await self.round_trip()
        found = [frame for frame in self.unread if frame.get("type") == "notification"]
        self.unread = [frame for frame in self.unread if frame.get("type") != "notification"]
        return found
