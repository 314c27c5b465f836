"""What deployment.md says about Redis is tried with a real one; its configurations fit the settings."""

import json
import re
import subprocess
import sys

from chat.models import LONGEST_TIMEOUT
from chat.realtime.config import Config
from tests.pages import ROOT, blocks, read
from tests.test_limits_messages import answers, chats, send_all
from tests.test_rooms_passwords import SECRET, asked, by_header, guarded
from tests.test_tokens import PASSWORD, REFRESH, TOKEN, new_name
from tests.token_support import post

PAGE = read("deployment.md")


def settings(environment: dict[str, str], *names: str) -> list:
    """What the project's settings make of an environment: some of their values."""
    code = (
        "import json; from chatproject import settings; "
        f"print(json.dumps([getattr(settings, name) for name in {names!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"ENV_FILE": "", **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def directives(block: str) -> list[str]:
    """nginx's directives and openings of blocks, without their `;` and `{`."""
    assert block.count("{") == block.count("}")
    lines = [part.strip() for part in re.split(r"[;{}]", block)]
    return [re.sub(r"\s+", " ", line) for line in lines if line]


def seconds(time: str) -> int:
    return int(time[:-1]) * {"s": 1, "m": 60, "h": 3600}[time[-1]]


def test_the_environment_file_is_one_that_systemd_and_docker_read_too():
    """Read as they do it, everything behind a `=` being the value, it is an environment for production."""
    (block,) = [one for one in blocks(PAGE, "sh") if one.startswith("# /etc/chat.env\n")]
    lines = [line for line in block.splitlines() if not line.startswith("#")]
    environment = dict(line.split("=", 1) for line in lines)
    names = ("DEBUG", "HTTPS_ONLY", "ALLOWED_HOSTS", "TRUSTED_PROXIES", "WEB_CONCURRENCY", "HOST")
    assert settings(environment, *names) == [False, True, ["chat.example.com"], 1, 4, "127.0.0.1"]


def test_nginx_says_what_the_service_looks_at():
    """The headers of an upgrade and of a trusted proxy, no /metrics, and times beyond any heartbeat's."""
    (block,) = blocks(PAGE, "nginx")
    found = directives(block)
    at_metrics = found.index("location /metrics")
    assert found[at_metrics + 1 : at_metrics + 3] == ["deny all", "location /"]
    passed = found[at_metrics + 2 :]
    assert {
        "proxy_http_version 1.1",
        "proxy_set_header Upgrade $http_upgrade",
        "proxy_set_header Connection $chat_connection",
        "proxy_set_header Host $http_host",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for",
        "proxy_set_header X-Forwarded-Proto $scheme",
    } <= set(passed)
    times = dict(line.split(" ") for line in found if "_timeout " in line)
    assert seconds(times["proxy_read_timeout"]) > LONGEST_TIMEOUT
    assert seconds(times["client_header_timeout"]) == Config().handshake_timeout
    # Whoever upgrades nothing gets a connection of its own: none is kept that a stopping worker may close.
    assert found[:3] == ["map $http_upgrade $chat_connection", "default upgrade", '"" close']


def test_caddy_keeps_no_connections_to_a_worker_that_may_stop():
    """And /metrics does not pass there either."""
    (block,) = blocks(PAGE, "caddyfile")
    assert re.search(r"reverse_proxy [^{]+\{\s+transport http \{\s+keepalive off\s+\}\s+\}", block)
    assert "respond /metrics* 403" in block


def test_systemd_and_containers_stop_the_service_as_it_wants_to_be_stopped():
    """SIGTERM to the supervisor alone, and more time than it takes; nothing secret gets into an image."""
    (block,) = blocks(PAGE, "ini")
    unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    environment = {"SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "localhost"}
    (limit,) = settings(environment, "SHUTDOWN_TIMEOUT")
    assert int(unit["TimeoutStopSec"]) > limit
    assert unit["KillMode"] == "mixed"
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    (dockerfile,) = blocks(PAGE, "dockerfile")
    assert 'CMD ["python", "manage.py", "serve"]' in dockerfile
    assert "STOPSIGNAL SIGTERM" in dockerfile
    ignored = re.search(r"`\.dockerignore` with (.+) keeps", PAGE)
    kept_out = {line.strip("/") for line in read(".gitignore").splitlines()}
    assert ignored
    secrets = {".secret_key", ".env", "db.sqlite3"}
    assert secrets <= kept_out & set(re.findall(r"`([^`]+)`", ignored[1]))


async def test_a_redis_user_with_the_page_s_rights_is_enough(own_redis, start_server, connect):
    """The page's Redis user may do all that the service asks for: messages, presence, limits on users,
    counted sign-ins and guesses of passwords. All that Redis denied is a look at its settings."""
    user = re.search(r"^user (chat on >password .*)$", PAGE, re.MULTILINE)
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", *user[1].split())
    url = own_redis.url.replace("://", "://chat:password@")
    env = {"USER_MESSAGE_RATE": "1", "USER_MESSAGE_BURST": "5"}
    server = start_server(url, workers=2, env=env)
    ada = server.create_user(new_name(), PASSWORD)

    status, _ = post(server, TOKEN, {"username": ada.username, "password": "wrong"})
    assert status == 401
    status, pair = post(server, TOKEN, {"username": ada.username, "password": PASSWORD})
    assert status == 200, pair
    assert post(server, REFRESH, {"refresh": pair["refresh"]})[0] == 200

    await guarded(server, "tea")
    assert (await asked(server, "tea", X_Room_Password="wrong"))[:2] == (403, "forbidden")
    inside = await by_header(connect, server, "tea", SECRET)
    other = await by_header(connect, server, "tea", SECRET)
    await inside.expect(type="presence", data={"status": "online"})
    await other.close()
    await inside.expect(type="presence", data={"status": "offline"})

    signed_in = await connect(server.ws("lobby"), cookie=ada.cookie)
    await send_all(signed_in, chats(6))
    told = [kind for kind, _ in await answers(signed_in, 6)]
    assert told == ["ack"] * 5 + ["rate_limited"]

    with own_redis.client() as client:
        denied = {entry["object"] for entry in client.acl_log()}
    assert denied <= {"config|get"}
