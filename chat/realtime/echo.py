"""An endpoint that says back what it hears, for first steps and for conformance tools.

Raw: text comes back as text, binary as binary, no envelope around them, and nothing else is ever sent. On
our own server it behaves by RFC 6455 and RFC 7692 in every point.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from .compression import LARGEST_WINDOW
from .consumer import RealtimeConsumer


class EchoConsumer(RealtimeConsumer):
    """Every message goes back to its sender. It is in no group, so that no broadcast comes between."""

    auth: ClassVar[Literal["required", "optional", "none"]] = "none"
    compression_window = LARGEST_WINDOW  # clients may take over context: conformance tools try it
    limited = False  # they send thousands of messages at once too

    def initial_groups(self) -> list[str]:
        return []

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)
