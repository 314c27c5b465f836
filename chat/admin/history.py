"""An admin whose rows keep their history."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from simple_history.admin import SimpleHistoryAdmin
from simple_history.template_utils import HistoricalRecordContextHelper


class Words(HistoricalRecordContextHelper):
    """Values as the form shows them: a choice's label, not its key."""

    def prepare_delta_change_value(self, change: Any, value: Any) -> Any:
        prepared = super().prepare_delta_change_value(change, value)
        choices = getattr(self.model._meta.get_field(change.field), "flatchoices", None)
        if choices:
            prepared = dict(choices).get(prepared, prepared)
        return "(empty)" if prepared in ("", []) else prepared


class HistoryAdmin(SimpleHistoryAdmin):
    """Who changed what, from which value to which, and back to it."""

    object_history_list_template = "admin/chat/history_list.html"

    def get_historical_record_context_helper(self, request: HttpRequest, historical_record: Any) -> Words:
        return Words(self.model, historical_record)

    def history_form_view(
        self,
        request: HttpRequest,
        object_id: str,
        version_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """One version; POST goes back to it, which is a change. django-simple-history 3.13 lets those who
        may only view POST it too."""
        if request.method == "POST" and not self.has_change_permission(request):
            raise PermissionDenied
        return super().history_form_view(request, object_id, version_id, extra_context)
