"""Send from anywhere: a view, a task, a shell, a handler; sync, or async with an ``a`` in front.

    broadcast_room("orders", "notification", {"text": "Order 7 is paid"})

A message is encoded once, published once per group, framed once per process. Inside a database
transaction publish in ``transaction.on_commit``. docs/broadcasting.md shows all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from . import config, hooks
from .envelope import encode
from .errors import LayerUnavailable
from .groups import EVERYONE, room_group, user_group
from .hooks import PublishContext
from .hub import CONTROL, FRAME
from .layers import WORKER, WORKER_ID, get_layer
from .questions import publish, publish_and_gather
from .runtime import run_sync
from .where import Where, check

REPORT_TIMEOUT = 2.0  # seconds for the workers' reports


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What one worker did: ``attempted`` for so many open connections; ``enqueued``: so many took it, onto
    the socket or into their send buffer; ``dropped``: messages lost to full buffers for it, this one or
    (with the policy ``drop_oldest``) an older one."""

    worker: str
    attempted: int
    enqueued: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """``id`` of the message, and how many ``workers`` took it (those with a member of the group).

    ``reports`` is None unless it was asked for; ``missing`` workers took the message and did not report in
    time.
    """

    id: str
    workers: int
    reports: tuple[WorkerReport, ...] | None = None
    missing: int = 0

    @property
    def attempted(self) -> int:
        return sum(report.attempted for report in self._reports())

    @property
    def enqueued(self) -> int:
        return sum(report.enqueued for report in self._reports())

    @property
    def dropped(self) -> int:
        return sum(report.dropped for report in self._reports())

    def _reports(self) -> tuple[WorkerReport, ...]:
        if self.reports is None:
            raise ValueError("Nobody was asked what became of it: send with report=True.")
        return self.reports


async def abroadcast_room(room: str, type: str, data: Any, **options: Any) -> Receipt:
    """Send to every member of a room.

    Options, of all four: ``exclude`` (connection ids), ``exclude_users`` (users or their ids), ``where`` (a
    condition on each connection, docs/broadcasting.md), ``report=True`` (wait for each worker's word: a
    round trip); ``sender`` (a client id) and ``user`` ({"id", "username"}) for ``from`` and ``user``.
    Raises LayerUnavailable, InvalidCondition.
    """
    return await _send({"group": room_group(room)}, type, data, room=room, **options)


async def abroadcast_all(type: str, data: Any, **options: Any) -> Receipt:
    """Send to every connection of every worker. Options and errors: as ``abroadcast_room``."""
    return await _send({"group": EVERYONE}, type, data, **options)


async def asend_to_user(user_id: Any, type: str, data: Any, **options: Any) -> Receipt:
    """Send to every connection of a signed-in user (a user, or an id). Otherwise as ``abroadcast_room``."""
    ident = _user_id(user_id)
    return await _send({"group": user_group(ident)}, type, data, user_id=ident, **options)


async def asend_to_connection(connection_id: str, type: str, data: Any, **options: Any) -> Receipt:
    """Send to one connection; ``workers`` is 0 when its worker is gone. Otherwise as ``abroadcast_room``."""
    return await _send({"connection": connection_id}, type, data, **options)


def broadcast_room(room: str, type: str, data: Any, **options: Any) -> Receipt:
    """``abroadcast_room`` for sync code."""
    return _sync(abroadcast_room(room, type, data, **options))


def broadcast_all(type: str, data: Any, **options: Any) -> Receipt:
    """``abroadcast_all`` for sync code."""
    return _sync(abroadcast_all(type, data, **options))


def send_to_user(user_id: Any, type: str, data: Any, **options: Any) -> Receipt:
    """``asend_to_user`` for sync code."""
    return _sync(asend_to_user(user_id, type, data, **options))


def send_to_connection(connection_id: str, type: str, data: Any, **options: Any) -> Receipt:
    """``asend_to_connection`` for sync code."""
    return _sync(asend_to_connection(connection_id, type, data, **options))


async def _send(
    target: dict[str, str], type: str, data: Any, *, user_id: Any = None, **options: Any
) -> Receipt:
    """``_publish``, through the hooks where there are any."""
    if not hooks.publishing:
        return await _publish(target, type, data, **options)
    context = PublishContext(type=type, data=data, user_id=user_id, connection_id=target.get("connection"))
    context.room, context.sender = options.get("room"), options.get("sender")
    return await hooks.around_publish(
        context, lambda changed: _publish(target, changed.type, changed.data, **options)
    )


async def _publish(
    target: dict[str, str],
    type: str,
    data: Any,
    *,
    exclude: Iterable[str] = (),
    exclude_users: Iterable[Any] = (),
    where: Where | None = None,
    report: bool = False,
    **fields: Any,
) -> Receipt:
    """Publish to a group or one connection: as a plain frame, the hub's fast path, where that will do."""
    select: dict[str, Any] = dict(target)
    if where is not None:
        select["where"] = check(where)
    if users := [_user_id(user) for user in exclude_users]:
        select["except_users"] = users
    without = [exclude] if isinstance(exclude, str) else list(exclude)
    ident, payload = encode(type, data, **fields)
    if not report and where is None and not users and not ("connection" in target and without):
        return Receipt(ident, await _publish_frame(target, payload, without))
    if without:
        select["except"] = without
    layer = get_layer().for_loop()
    group = target.get("group") or WORKER + target["connection"][WORKER_ID]
    message = {"type": CONTROL, "select": select, "data": payload}
    if not report:
        return Receipt(ident, await publish(layer, group, message))
    found = await publish_and_gather(layer, group, message, REPORT_TIMEOUT)
    reports = tuple(WorkerReport(**answer) for answer in found.answers)
    return Receipt(ident, found.asked, reports, found.missing)


async def _publish_frame(target: dict[str, str], payload: bytes, without: list[str]) -> int:
    layer = get_layer().for_loop()
    message: dict[str, Any] = {"type": FRAME, "data": payload}
    if "group" in target:
        if without:
            message["except"] = without
        return await publish(layer, target["group"], message)
    ident = target["connection"]
    return await publish(layer, WORKER + ident[WORKER_ID], {"type": CONTROL, "to": ident, "message": message})


def _user_id(user: Any) -> str:
    """Of a user or of an id: the text that stands for it."""
    return str(getattr(user, "pk", user))


def _sync(sending: Any) -> Receipt:
    try:
        receipt: Receipt = run_sync(sending, config.current().redis_timeout + REPORT_TIMEOUT + 1)
    except TimeoutError:
        raise LayerUnavailable() from None
    return receipt
