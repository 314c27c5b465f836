"""A token in a real browser: made by the page, offered as a subprotocol, sent on the open socket."""

import secrets
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.token_support import mint

# The user of the first frame, and what the browser says of the handshake; "refused" where it gave up.
SPEAK = """
async ([protocols, token]) => {
  const socket = new WebSocket(`ws://${location.host}/api/chat-api/ws/lobby`, protocols);
  const next = (type) => new Promise((resolve, reject) => {
    socket.onclose = () => reject("refused");
    socket.addEventListener("message", ({data}) => {
      const frame = JSON.parse(data);
      if (frame.type === type) resolve(frame.data);
    });
  });
  try {
    let {user} = await next("system");
    if (token) {
      const answer = next("ack");
      socket.send(JSON.stringify({type: "auth", id: "a-1", data: {token}}));
      user = (await answer).user;
    }
    return {user, protocol: socket.protocol};
  } catch (reason) {
    return reason;
  } finally {
    socket.onclose = null;
    socket.close();
  }
}
"""
# As docs/authentication.md shows it.
FETCH = """
async () => {
  const csrf = document.cookie.match(/csrftoken=(\\w+)/)[1];
  const answer = await fetch("/api/chat-api/token", {method: "POST", headers: {"X-CSRFToken": csrf}});
  const {access, expires_in} = await answer.json();
  return access;
}
"""


@pytest.fixture
def page(browser, memory_server) -> Iterator[Page]:
    """A visitor's page of the site."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(memory_server.http("/"))
        yield page


@pytest.fixture
def user(memory_server):
    return memory_server.create_user(f"user-{secrets.token_hex(4)}")


def test_a_page_signs_in_with_a_subprotocol(memory_server, page, user):
    """The browser takes the answer, which names the real subprotocol; the user is the token's."""
    token = mint(memory_server, user)["access"]
    assert page.evaluate(SPEAK, [["chat.v1", f"bearer.{token}"], None]) == {
        "user": user.shown,
        "protocol": "chat.v1",
    }


@pytest.mark.parametrize("protocols", [["chat.v1", "bearer.garbage"], ["bearer.{token}"]])
def test_a_bad_token_or_none_but_a_token_opens_nothing(memory_server, page, user, protocols):
    """A bad token is refused; with nothing but a token offered the browser itself gives up."""
    token = mint(memory_server, user)["access"]
    offered = [protocol.format(token=token) for protocol in protocols]
    assert page.evaluate(SPEAK, [offered, None]) == "refused"


def test_a_visitor_signs_in_on_the_open_socket(memory_server, page, user):
    """`auth` from a page: the acknowledgement names the user."""
    token = mint(memory_server, user)["access"]
    assert page.evaluate(SPEAK, [["chat.v1"], token])["user"] == user.shown


def test_a_page_makes_a_token_from_its_session(memory_server, browser, page, user):
    """With session and CSRF cookies, as the documentation shows; the token is as good elsewhere."""
    with browser.new_context() as context:
        context.add_cookies([{"name": "sessionid", "value": user.session_key, "url": memory_server.origin}])
        signed_in = context.new_page()
        signed_in.goto(memory_server.http("/"))
        token = signed_in.evaluate(FETCH)
    assert page.evaluate(SPEAK, [["chat.v1", f"bearer.{token}"], None])["user"] == user.shown
