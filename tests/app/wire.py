"""Consumers that say what comes over the wire: in pieces, above and below the usual limit, while they are
busy."""

import asyncio
import hashlib
from typing import Any

from chat.realtime import Incoming, RealtimeConsumer, heartbeat, on
from chat.realtime.echo import EchoConsumer
from chat.realtime.pieces import Piece


class Large(EchoConsumer):
    """An echo of up to a million bytes."""

    max_message_bytes = 1_000_000


class Small(EchoConsumer):
    max_message_bytes = 100


class Pieces(RealtimeConsumer):
    """Digests what it reads, however large; at `/test/pieces/slow` it takes its time for each piece."""

    auth = "none"
    reads_pieces = True
    max_message_bytes = 20 * 1024 * 1024
    compression_window = 15

    async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
        data = text_data.encode() if text_data is not None else bytes_data
        await self.send_json({"whole": hashlib.sha256(data).hexdigest(), "text": text_data is not None})

    async def receive_piece(self, piece: Piece) -> None:
        if piece.number == 0:
            self.digest, self.count, self.largest = hashlib.sha256(), 0, 0
        assert piece.number == self.count
        data = piece.text.encode() if piece.text is not None else piece.data
        assert data is not None
        self.digest.update(data)
        self.count += 1
        self.largest = max(self.largest, len(data))
        if self.url["pace"] == "slow":
            await asyncio.sleep(0.2)
        if self.url["pace"] == "failing":
            raise RuntimeError("a piece's bug")
        if piece.last:
            await self.send_json(
                {
                    "digest": self.digest.hexdigest(),
                    "pieces": self.count,
                    "largest": self.largest,
                    "text": piece.text is not None,
                }
            )


class Pinged(RealtimeConsumer):
    """Its clients answer the server's `ping` messages; it tells how far away they are."""

    auth = "none"
    application_pings = True

    @on("pong")
    async def pong(self, message: Incoming) -> None:
        heartbeat.answered(self.connection, message.id)

    @on("rtt")
    async def rtt(self, message: Incoming) -> None:
        await self.reply("rtt", self.connection.rtt)

    @on("work")
    async def work(self, message: Incoming) -> None:
        await asyncio.sleep(message.data)
        await self.reply("worked", None)
