"""Who may call what."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from chat.operator import Workers


class IsStaff(BasePermission):
    """Staff, and management commands. (The admin's live page asks for finer permissions.)"""

    message = "Only staff may do this."

    def has_permission(self, request: Request, _view: APIView) -> bool:
        return request.user.is_authenticated and request.user.is_staff


class IsStaffOrInRoom(BasePermission):
    """Staff, or somebody who is signed in and has a connection in the room (`room` in the URL) now."""

    message = "Only staff, and those who are in the room now, may see its members."

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        if not user.is_authenticated:
            return False
        return user.is_staff or Workers().is_in(view.kwargs["room"], user.pk)
