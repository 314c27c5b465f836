"""The Content-Security-Policy in a real Chromium: strict, and everything works under it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import serving

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The base URL of a development server with an administrator, `admin`."""
    prepare = (
        "from django.contrib.auth import get_user_model\n"
        f"get_user_model().objects.create_superuser('admin', 'admin@example.com', '{PASSWORD}')"
    )
    with serving(prepare=prepare) as server:
        yield server.http("/")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A Chromium page."""
    page = browser.new_page()
    yield page
    page.close()


def complaints(page: Page) -> list[str]:
    """What the browser complains about from now on."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def test_the_policy_allows_the_own_origin_alone(address, page):
    """A page may open a WebSocket to its own host, to no other one, and runs no inline script."""
    page.goto(address)
    opened = """
        (url) => new Promise((resolve) => {
            const socket = new WebSocket(url);
            socket.onopen = () => { socket.close(); resolve("open"); };
            socket.onerror = () => resolve("refused");
        })
    """
    own = address.replace("http:", "ws:") + "api/chat-api/ws"
    assert page.evaluate(opened, own) == "open"
    found = complaints(page)
    assert page.evaluate(opened, own.replace("127.0.0.1", "localhost")) == "refused"
    assert "Content Security Policy" in found[0]
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
    }""")
    assert page.evaluate("() => window.ran") is None


def test_the_admin_works_under_the_policy(address, page):
    """Every page that the admin's front page links to opens without a complaint, and its scripts run."""
    found = complaints(page)
    page.goto(f"{address}admin/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")
    page.wait_for_url(f"{address}admin/")
    links = set(page.eval_on_selector_all("a[href^='/admin/']", "all => all.map((one) => one.pathname)"))
    links |= {"/admin/auth/user/1/change/", "/admin/auth/user/1/history/", "/admin/auth/user/1/delete/"}
    assert len(links) >= 8
    for link in sorted(links):
        response = page.goto(f"{address.rstrip('/')}{link}")
        assert response is not None
        assert response.status == 200, link
    page.goto(f"{address}admin/auth/user/1/change/")
    page.click("text=Today >> nth=0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", page.input_value("#id_last_login_0"))
    assert found == []
