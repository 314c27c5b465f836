"""Who may do what: Django REST framework's permission classes, asked without an HTTP request.

They get stand-ins for the request and the view, which say as much as there is: the user, the method that fits
the operation, the data, the resource's rows. What they decide for a subscriber is asked anew at delivery,
at most FRESH seconds after the last time, and of a user that was just read: rights that were withdrawn end
within a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.permissions import AllowAny, IsAuthenticatedOrReadOnly

from .errors import Unauthorized
from .resource import CREATE, DELETE, META, READ, SUBSCRIBE, UPDATE, ReadOnly

if TYPE_CHECKING:
    from .resource import ModelResource

FRESH = 0.4  # seconds; twice that at most, for the user and for what is asked of them
MOST_USERS = 10_000  # whose fresh objects are kept

METHODS = {READ: "GET", META: "GET", SUBSCRIBE: "GET", CREATE: "POST", UPDATE: "PATCH", DELETE: "DELETE"}
_ACTIONS = {
    READ: "list",
    META: "metadata",
    SUBSCRIBE: "list",
    CREATE: "create",
    UPDATE: "partial_update",
    DELETE: "destroy",
}
# Classes that let everybody read, whoever it is: nobody needs to be asked.
_OPEN = (AllowAny, IsAuthenticatedOrReadOnly, ReadOnly)

ANONYMOUS = AnonymousUser()

_users: dict[Any, tuple[Any, float]] = {}


class StandInRequest:
    """What a permission or a serializer may look at in place of a request."""

    def __init__(self, user: Any, operation: str, data: Any = None, auth: Any = None) -> None:
        self.user = user
        self.auth = auth
        self.method = METHODS[operation]
        self.data: Any = {} if data is None else data
        self.query_params: dict[str, Any] = {}
        self.META: dict[str, Any] = {}
        self.GET = self.POST = self.COOKIES = self.headers = self.query_params
        self.path = ""

    def build_absolute_uri(self, location: str | None = None) -> str:
        return location or ""


class StandInView:
    """What a permission or a serializer may look at in place of a view."""

    def __init__(self, resource: ModelResource, request: StandInRequest, operation: str, key: Any) -> None:
        self.resource = resource
        self.request = request
        self.action = _ACTIONS[operation] if key is None or operation != READ else "retrieve"
        self.kwargs: dict[str, Any] = {} if key is None else {"pk": key}
        self.args: tuple[Any, ...] = ()
        self.format_kwarg = None

    def get_queryset(self) -> Any:
        return self.resource.get_queryset(self.request.user)

    def get_serializer_class(self) -> Any:
        return self.resource.serializer


class Asking:
    """One user's wish, as permissions see it."""

    def __init__(
        self,
        resource: ModelResource,
        user: Any,
        operation: str,
        *,
        data: Any = None,
        key: Any = None,
        auth: Any = None,
    ) -> None:
        self.resource = resource
        self.user = user
        self.request = StandInRequest(user, operation, data, auth)
        self.view = StandInView(resource, self.request, operation, key)

    @property
    def context(self) -> dict[str, Any]:
        """What serializers get beside the row."""
        return {"request": self.request, "view": self.view, "format": None}

    def check(self) -> None:
        """Raises Unauthorized."""
        for permission in self._permissions():
            if not _asked(partial(permission.has_permission, self.request, self.view)):
                raise Unauthorized(getattr(permission, "message", None))

    def check_object(self, instance: Any) -> None:
        """Raises Unauthorized."""
        for permission in self._permissions():
            if not self._allows(permission, instance):
                raise Unauthorized(getattr(permission, "message", None))

    def allows(self, instance: Any) -> bool:
        return all(self._allows(permission, instance) for permission in self._permissions())

    def _allows(self, permission: Any, instance: Any) -> bool:
        return _asked(partial(permission.has_object_permission, self.request, self.view, instance))

    def _permissions(self) -> list[Any]:
        return [cls() for cls in self.resource.permission_classes]


def _asked(question: Callable[[], Any]) -> bool:
    """A permission's word. One that raises says no."""
    try:
        return bool(question())
    except (PermissionDenied, Http404, APIException):
        return False


def everybody_reads(resource: ModelResource) -> bool:
    """Whether nobody needs to be asked who reads."""
    return all(cls in _OPEN for cls in resource.permission_classes)


def may_read(resource: ModelResource, user: Any) -> bool:
    """Whether a user may read at all. On a database thread."""
    try:
        Asking(resource, user, READ).check()
    except Unauthorized:
        return False
    return True


def fresh(user: Any) -> Any:
    """The same user as the database knows it, at most FRESH seconds old. On a database thread.

    One that is gone or inactive is nobody.
    """
    key = getattr(user, "pk", None)
    if key is None or not user.is_authenticated:
        return ANONYMOUS
    known = _users.get(key)
    now = time.monotonic()
    if known is not None and now - known[1] < FRESH:
        return known[0]
    found: Any = get_user_model()._base_manager.filter(pk=key).first()
    if found is None or not found.is_active:
        found = ANONYMOUS
    if len(_users) >= MOST_USERS:
        _users.clear()
    _users[key] = (found, now)
    return found
