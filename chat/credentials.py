"""Ended credentials end sockets: logout, a changed password, deactivation, deletion (4501).

Signals fire in the process that made the change, whichever that is; the workers are told over the layer,
after the transaction has committed. A sign-in on another device stays: a logout ends its own session's
sockets, and those that came with tokens of that session. What sends no signal is found by the workers' look
at everybody (`chat.realtime.verification`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from chat.realtime import control, tokens
from chat.realtime.auth import session_name, sign_in_name

SESSION_SID = "chat.token_sid"  # where a session keeps the ``sid`` of the tokens that were made for it


def connect_signals() -> None:
    """Called once, when the apps are ready."""
    user_logged_out.connect(_logged_out, dispatch_uid="chat.credentials.logged_out")
    post_save.connect(_saved, sender=get_user_model(), dispatch_uid="chat.credentials.saved")
    post_delete.connect(_deleted, sender=get_user_model(), dispatch_uid="chat.credentials.deleted")


def end_sign_in(key: str) -> None:
    """Tell the workers that a sign-in (``Identity.key``) has ended."""
    transaction.on_commit(partial(control.tell, "end_sign_in", {"key": key}))


def _logged_out(sender: Any, request: Any, user: Any, **_: Any) -> None:
    session = getattr(request, "session", None)
    key = getattr(session, "session_key", None)
    if session is None or user is None or not key:
        return
    end_sign_in(session_name(key))
    sid = session.get(SESSION_SID)
    if sid:
        tokens.end_sign_in(sid)
        end_sign_in(sign_in_name(sid))


def _saved(sender: Any, instance: Any, created: bool, update_fields: Any = None, **_: Any) -> None:
    if created or (update_fields is not None and set(update_fields) == {"last_login"}):
        return
    _changed(instance)


def _deleted(sender: Any, instance: Any, **_: Any) -> None:
    _changed(instance)


def _changed(user: Any) -> None:
    transaction.on_commit(partial(control.tell, "verify_user", {"user": str(user.pk)}))
