"""What deployment.md says about Redis is tried with a real one."""

import re

from tests.pages import read
from tests.test_limits_messages import answers, chats, send_all
from tests.test_rooms_passwords import SECRET, asked, by_header, guarded
from tests.test_tokens import PASSWORD, REFRESH, TOKEN, new_name
from tests.token_support import post


async def test_a_redis_user_with_the_page_s_rights_is_enough(own_redis, start_server, connect):
    """The page's Redis user may do all that the service asks for: messages, presence, limits on users,
    counted sign-ins and guesses of passwords. All that Redis denied is a look at its settings."""
    user = re.search(r"^user (chat on >password .*)$", read("deployment.md"), re.MULTILINE)
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
