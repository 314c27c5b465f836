"""Ended credentials end sockets: logout, a changed password, deactivation, deletion (4501).

Signals fire in the process that made the change, whichever that is; the workers are told over the layer,
after the transaction has committed. A login on another device stays: a logout ends its own session's sockets.
"""

from __future__ import annotations

import asyncio
from typing import Any

from channels.db import database_sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from chat.realtime import CloseCode, control
from chat.realtime.auth import read_user, session_digest
from chat.realtime.hub import Hub


def connect_signals() -> None:
    """Called once, when the apps are ready."""
    user_logged_out.connect(_logged_out, dispatch_uid="chat.credentials.logged_out")
    post_save.connect(_saved, sender=get_user_model(), dispatch_uid="chat.credentials.saved")
    post_delete.connect(_deleted, sender=get_user_model(), dispatch_uid="chat.credentials.deleted")


def _logged_out(sender: Any, request: Any, user: Any, **_: Any) -> None:
    key = getattr(getattr(request, "session", None), "session_key", None)
    if key and user is not None:
        control.tell("close", {"session": session_digest(key), "code": int(CloseCode.CREDENTIALS_ENDED)})


def _saved(sender: Any, instance: Any, created: bool, update_fields: Any = None, **_: Any) -> None:
    if created or (update_fields is not None and set(update_fields) == {"last_login"}):
        return
    user = str(instance.pk)
    transaction.on_commit(lambda: control.tell("verify_user", {"user": user}))


def _deleted(sender: Any, instance: Any, **_: Any) -> None:
    user = str(instance.pk)
    transaction.on_commit(lambda: control.tell("verify_user", {"user": user}))


_verifying: set[asyncio.Task[None]] = set()


@control.command("verify_user")
def _verify_user(hub: Hub, args: dict[str, Any]) -> dict[str, Any]:
    """Look whether the sessions behind a user's sockets still count; off the loop, answered at once."""
    found = [c for c in hub.connections.values() if c.user is not None and str(c.user["id"]) == args["user"]]
    if found:
        task = hub.loop.create_task(_verify(found))
        _verifying.add(task)
        task.add_done_callback(_verifying.discard)
    return {"checking": len(found)}


async def _verify(connections: list[Any]) -> None:
    for key in {connection.session_key for connection in connections if connection.session_key}:
        user = await database_sync_to_async(read_user)(key)
        if not user.is_authenticated:
            for connection in connections:
                if connection.session_key == key:
                    connection.close(CloseCode.CREDENTIALS_ENDED)
