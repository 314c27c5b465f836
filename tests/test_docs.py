"""The documentation and the code say the same: links, settings, files, messages, commands, deadlines."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands

from chat.realtime.config import Config
from chat.realtime.redis_subscriber import SubscriberLink
from tests.pages import DOCS, ROOT, anchors, blocks, code, links, read, table, tables

PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
SOURCES = {path: path.read_text() for top in ("chat", "chatproject") for path in (ROOT / top).rglob("*.py")}

# In a worker's environment only: the supervisor's word to it, no setting.
NO_SETTINGS = {"CHAT_RUN_DIRECTORY", "CHAT_WORKER_READY_FD", "DJANGO_SETTINGS_MODULE"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    """Every relative link names a file that is there, and a heading in it."""
    for target in links(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target


# --- settings -------------------------------------------------------------------------------------


def settings_read() -> set[str]:
    """The environment variables that chatproject/settings.py reads."""
    found = set()
    for node in ast.walk(ast.parse(SOURCES[ROOT / "chatproject" / "settings.py"])):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called.startswith("env.") or called == "os.environ.get":
                found.add(node.args[0].value)
    return found


def test_the_table_of_settings_is_the_settings():
    """The README's table lists exactly the environment variables that the settings read."""
    listed = [
        name for cell in table(read("README.md"), "variable", "default").column() for name in code(cell)
    ]
    assert len(listed) == len(set(listed))
    assert set(listed) == settings_read()


def test_other_variables_are_documented():
    """A variable that the service reads outside the settings is in the README or in operating.md."""
    documented = read("README.md") + read("operating.md")
    for path, source in SOURCES.items():
        if path.name in ("settings.py", "env.py") or "testing" in path.parts:
            continue
        for name in re.findall(r"environ(?:\.get\(|\.pop\(|\.setdefault\(|\[)\s*\"([A-Z_]+)\"", source):
            assert name in NO_SETTINGS or f"`{name}`" in documented, f"{name} in {path.name}"


def test_examples_of_settings_use_real_ones():
    """What deployment.md and .env.example set are settings."""
    lines = [line for block in blocks(read("deployment.md"), "sh") for line in block.splitlines()]
    lines += [line.lstrip("# ") for line in read(".env.example").splitlines() if "=" in line]
    names = {line.partition("=")[0] for line in lines if re.match(r"[A-Z_]+=", line)}
    assert names
    assert names <= settings_read()


# --- commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path):
    """Every `manage.py` command on a page is one."""
    named = set(re.findall(r"manage\.py ([a-z_]+)", page.read_text()))
    assert named <= {*get_commands(), "help"}


def test_the_unit_and_the_procfile_run_real_commands():
    """What systemd and the Procfile are told to run is manage.py with commands that exist."""
    unit = blocks(read("deployment.md"), "ini")[0]
    for line in re.findall(r"^ExecStart(?:Pre)?=(.+)$", unit, re.MULTILINE):
        python, script, command, *_ = shlex.split(line)
        assert python.startswith(re.search(r"^WorkingDirectory=(.+)$", unit, re.MULTILINE)[1])
        assert (script, command in get_commands()) == ("manage.py", True)
    assert {line.split(":")[0] for line in read("Procfile").splitlines()} == {"release", "web"}


# --- architecture.md ------------------------------------------------------------------------------


def test_the_table_of_files_is_the_tree():
    """architecture.md has a sentence for each module and package of the layers, and for nothing else."""
    listed = [name for cell in table(read("architecture.md"), "file").column() for name in code(cell)]
    tree = set()
    for folder in (ROOT / "chatproject", *(ROOT / "chat" / name for name in (".", "realtime", "resources"))):
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        packages = [path.parent for path in folder.glob("*/__init__.py")]
        tree |= {str(path.relative_to(ROOT)) for path in modules}
        tree |= {f"{path.relative_to(ROOT)}/" for path in packages}
    assert len(listed) == len(set(listed))
    assert set(listed) == tree - {"chat/migrations/", "chat/realtime/", "chat/resources/"}


def test_a_deaf_subscription_is_given_up_before_a_publication():
    """A refused message can't arrive late: whoever would hear it has hung up before it is refused."""
    patience = SubscriberLink.PING_AFTER + SubscriberLink.DEAF_AFTER
    looks = SubscriberLink.PING_AFTER / 2
    assert patience + looks < Config().redis_timeout
    told = read("architecture.md")
    assert f"after {Config().redis_timeout:g} seconds is refused" in told
    assert SubscriberLink.PING_AFTER == 0.5
    assert "hears nothing for half a second" in told
    assert f"silent for {SubscriberLink.DEAF_AFTER:g} seconds more" in told


def test_the_deadlines_are_the_code_s():
    """The line of deadlines in architecture.md has the values in force."""
    line = re.search(r"\*\*Deadlines\*\*: (.+)\.", read("architecture.md"))
    assert line
    config = Config()
    expected = {
        "Redis": config.redis_timeout,
        "database at a handshake": config.query_timeout,
        "handshake": config.handshake_timeout,
        "handler": config.handler_timeout,
        "stop": 10,
    }
    told = dict(re.fullmatch(r"(.+) (\d+) s", part).groups() for part in line[1].split(", "))
    assert told == {name: f"{seconds:g}" for name, seconds in expected.items()}


# --- troubleshooting.md ---------------------------------------------------------------------------


def test_quoted_messages_are_written_by_the_code():
    """What troubleshooting.md says that the log or a command says stands in the source like that."""
    words = re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(SOURCES.values()))  # texts over several lines
    quoted = [
        text
        for one in tables(read("troubleshooting.md"))
        if one.header[0] in ("what it says", "line")
        for cell in one.column()
        for text in code(cell)
    ]
    assert len(quoted) > 10
    for text in quoted:
        for part in text.split("…"):
            assert part.strip() in words, text
