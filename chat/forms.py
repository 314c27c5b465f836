"""The forms to sign in with, on the chat's page and in the admin: nobody guesses passwords there either."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from chat import guessing
from chat.realtime import log

logger = logging.getLogger("chat.sign_in")


class SignInForm(AuthenticationForm):
    """Counts attempts as `POST token` does. While Redis is away each worker counts alone: an operator needs
    the admin on a bad day."""

    def clean(self) -> dict[str, Any]:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not name or not password:
            return super().clean()
        address = guessing.address_of_request(self.request.META) if self.request else ""
        wait = guessing.attempt(address, name, also_alone=True)
        if wait is not None:
            log.event(logger, logging.WARNING, "sign_in_throttled", address=address)
            words = f"Too many attempts to sign in. Try again in {wait} seconds."
            raise ValidationError(words, code="too_many_attempts")
        try:
            cleaned = super().clean()
        except ValidationError:
            # Not the name: people type their password there.
            log.event(logger, logging.INFO, "sign_in_failed", address=address)
            raise
        guessing.succeeded(address, name)
        return cleaned


class AdminSignInForm(SignInForm, AdminAuthenticationForm):
    """On `/admin/login/`: for staff."""
