"""Where each HTTP path leads."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from chat.forms import AdminSignInForm, SignInForm

admin.site.login_form = AdminSignInForm

urlpatterns = [
    path("admin/", admin.site.urls),
    path(
        "accounts/login/",
        LoginView.as_view(authentication_form=SignInForm, redirect_authenticated_user=True),
        name="login",
    ),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    # Browsers ask for it on pages that name no icon, like the admin's.
    path("favicon.ico", RedirectView.as_view(url=static("chat/favicon.svg"))),
    path("api/chat-api/", include("chat.api.urls")),
    path("", include("chat.urls")),
]
