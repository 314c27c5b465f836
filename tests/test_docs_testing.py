"""docs/testing.md works as it is printed: its tests, run by pytest in a small Django project of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chat.realtime import testing
from tests.pages import ROOT, blocks, code, read, table

PAGE = read("testing.md")
FILE = re.compile(r"# ([\w/]+\.py)\n")

# What a project has besides: other places, another settings module, another ASGI application.
PROJECT = {
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
execute_from_command_line(sys.argv)
""",
    "pytest.ini": """
[pytest]
pythonpath = .
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
DJANGO_SETTINGS_MODULE = shop.settings
filterwarnings = error
""",
    "shop/__init__.py": "",
    "shop/settings.py": """
import os
os.environ.setdefault("REDIS_URL", "memory://")
from chatproject.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "orders"]
ASGI_APPLICATION = "shop.asgi.application"
""",
    "shop/asgi.py": """
from django.core.asgi import get_asgi_application
django_application = get_asgi_application()
from chat.realtime.probes import Probes
from chat.realtime.routing import Application, WebSocketRouter, installed_urlpatterns
application = Application(
    django_application,
    WebSocketRouter(installed_urlpatterns()),
    Probes(health="/api/chat-api/health", ready="/api/chat-api/ready"),
)
""",
    "orders/__init__.py": "",
    "orders/routing.py": """
from django.urls import path
from orders.consumers import OrderConsumer
websocket_urlpatterns = [path("ws/orders/<int:order>", OrderConsumer.as_asgi())]
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files in a project that is not this one."""
    root = tmp_path_factory.mktemp("shop")
    printed = {FILE.match(block)[1]: block for block in blocks(PAGE, "python") if FILE.match(block)}
    for name, content in {**PROJECT, **printed}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    return root


def run_pytest(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env={**kept, "PYTHONPATH": str(ROOT), "DEBUG": "1", "SECRET_KEY": "x" * 50, "ENV_FILE": ""},
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.mark.timeout(120)
def test_the_printed_tests_pass_in_another_project(project):
    """The page's tests pass where manage.py, settings and ASGI application are not this project's."""
    done = run_pytest(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(re.findall(r'async def test_', PAGE))} passed" in done.stdout


@pytest.mark.timeout(120)
def test_a_failure_shows_the_frames_and_the_servers_output(project):
    """A test that fails shows what came instead, and what its server wrote; the consumer goes on."""
    (project / "orders" / "test_failing.py").write_text(
        """
async def test_waiting_in_vain(start_realtime_server, connect):
    server = start_realtime_server()
    ada = await connect(server.websocket("/ws/orders/7"))
    try:
        await ada.expect(limit=0.3, type="order.paid")
    finally:
        await ada.send({"type": "order.note", "data": {"text": "still here"}})
        await ada.expect(type="order.note")
"""
    )
    try:
        done = run_pytest(project, "orders/test_failing.py")
    finally:
        (project / "orders" / "test_failing.py").unlink()
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert "NotSeen: no frame with {'type': 'order.paid'} in 0.3 s; seen:" in done.stdout
    assert '"type": "order.state"' in done.stdout


def test_the_page_lists_what_there_is():
    """The calls and fixtures in the page's tables exist, and each of the kit's fixtures is listed."""
    named = {
        name for cell in table(PAGE, "call", "what").column() for name in re.findall(r"\w+(?=\(|`)", cell)
    }
    there = {*dir(testing.Client), *vars(testing.Client(None))}
    assert named - there == {"limit"} & named
    fixtures = [name for cell in table(PAGE, "fixture", "what").column() for name in code(cell)]
    source = (Path(testing.__file__).parent / "plugin.py").read_text()
    defined = re.findall(r"fixture.*\n(?:async )?def (\w+)", source)
    assert sorted(fixtures) == sorted(defined)
