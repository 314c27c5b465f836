"""The members of one group, and the loop that a broadcast is: one frame to many.

A message costs a system call a receiver, 4 µs and more. To look at the receiver itself, for its state, its
window, its counts, costs half a microsecond beside it: its memory was last used a message ago. So a group
keeps of each member nothing but the way to its socket, and counts once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from .frames import Frame

if TYPE_CHECKING:
    from .connection import Connection

Way = Callable[[bytes], int]  # like a socket's ``send``: how many of the bytes it took


def _later(data: bytes) -> int:
    """The way to members whose frames go through ``Connection.take``. Not even an empty frame fits."""
    return -1


class Group(dict["Connection", Way]):
    """Members, and the way to each: its socket's own ``send`` while it is ``clear``, else ``_later``.

    What goes out through those is counted here. A member's own counts are short of that while it is clear,
    and begin with what had gone out before as a debt: see ``Connection.messages_out``.
    """

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0  # that clear members were given
        self.bytes = 0  # of their payload

    def add(self, connection: Connection) -> None:
        """Make somebody a member who is none."""
        self[connection] = _way(connection)
        if connection.clear:
            connection.count(-self.messages, -self.bytes)

    def remove(self, connection: Connection) -> None:
        """End a membership."""
        del self[connection]
        if connection.clear:
            connection.count(self.messages, self.bytes)

    def turned(self, connection: Connection) -> None:
        """A member's ``clear`` has just changed."""
        self[connection] = _way(connection)
        sign = -1 if connection.clear else 1
        connection.count(sign * self.messages, sign * self.bytes)

    def give(self, frames: list[Frame], without: Collection[Connection] = ()) -> tuple[int, int]:
        """Frames, plain and as one write, to all members but some of them. Returns how many messages were
        taken, and their bytes of payload.

        The loop below is the product. Nothing else runs in it: what a socket did not take is seen to
        afterwards, so nobody comes, goes or turns meanwhile.
        """
        data = frames[0].wire if len(frames) == 1 else b"".join([frame.wire for frame in frames])
        messages, size, whole = len(frames), sum([len(frame.payload) for frame in frames]), len(data)
        for connection in without:
            self[connection] = len  # takes everything, and it goes nowhere
        missed: dict[Way, int] = {}
        for send in self.values():
            try:
                taken = send(data)
            except OSError:
                taken = 0  # full, or broken: then the reactor meets the error in its turn
            if taken != whole:
                missed[send] = taken
        self.messages += messages
        self.bytes += size
        for connection in without:
            self[connection] = _way(connection)
            if connection.clear:
                connection.count(-messages, -size)
        receivers = len(self) - len(without)
        if not missed:
            return receivers * messages, receivers * size
        waiting = self._finish(data, missed, without)
        direct = receivers - len(waiting)
        counts = [connection.push_all(frames) for connection in waiting]
        return (
            direct * messages + sum([taken for taken, _ in counts]),
            direct * size + sum([taken for _, taken in counts]),
        )

    def _finish(
        self, data: bytes, missed: dict[Way, int], without: Collection[Connection]
    ) -> list[Connection]:
        """Leave to its transport what a socket did not take. Returns those who were given nothing yet."""
        found = [(one, missed[send]) for one, send in self.items() if send in missed and one not in without]
        for connection, taken in found:
            if taken >= 0:
                connection.transport.write_rest(data[taken:])
        return [connection for connection, taken in found if taken < 0]


def give_each(members: Iterable[Connection], frame: Frame, without: Collection[str]) -> int:
    """One frame to some connections, of any group or none, compressed for those who take it so; ``without``
    has ids. Returns how many took it."""
    wire, window, size, sent = frame.wire, frame.window, len(frame.payload), 0
    for connection in members:
        if without and connection.id in without:
            continue
        if connection.clear:
            # ``write_now`` and ``count``, without calling them: 0.2 µs a receiver.
            data = wire if connection.window < window else frame.packed
            try:
                taken = connection.send_bytes(data)  # type: ignore[misc]  # it is there while ``clear``
            except OSError:
                taken = 0
            if taken != len(data):
                connection.transport.write_rest(data[taken:])
            connection.own_messages_out += 1
            connection.own_bytes_out += size
            sent += 1
        else:
            sent += connection.take(frame)
    return sent


def _way(connection: Connection) -> Way:
    return _later if not connection.clear or connection.send_bytes is None else connection.send_bytes
