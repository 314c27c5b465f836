"""Consumers with limits of their own: a rate as middleware, or none of the settings' ones."""

from typing import ClassVar

from chat.realtime import Incoming, RateLimit, RealtimeConsumer, on


class Counted(RealtimeConsumer):
    """Five messages at once, and then one a minute."""

    auth = "none"
    middleware: ClassVar = [RateLimit("1/min", burst=5)]

    @on("say")
    async def say(self, message: Incoming) -> str:
        return "said"


class Unlimited(RealtimeConsumer):
    """What the settings say of messages and bytes a second does not hold here."""

    auth = "none"
    limited = False

    @on("say")
    async def say(self, message: Incoming) -> str:
        return "said"
