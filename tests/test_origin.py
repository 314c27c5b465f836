"""What a handshake's request says: origins compared part by part, addresses, queries, cookies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.realtime.auth import session_key_of
from chat.realtime.errors import BadRequest, Forbidden
from chat.realtime.handshake import MAX_HOST, Handshake, _is_ours, forwarded_address, read_query
from chat.realtime.origin import check_origin, normalize


def allowed(*origins: str, **given_: object) -> bool:
    """Whether a request with these Origin headers passes."""
    facts: dict = {
        "host": "chat.example.com",
        "secure": True,
        "cookie": True,
        "allowed": [],
        "trust_host": True,
        **given_,
    }
    try:
        check_origin(list(origins), **facts)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("origin", "found"),
    [
        ("http://a.example", ("http", "a.example", 80)),
        ("https://a.example", ("https", "a.example", 443)),
        ("HTTPS://A.Example:443/", ("https", "a.example", 443)),
        ("https://a.example:8443", ("https", "a.example", 8443)),
        ("http://[::1]:8000", ("http", "::1", 8000)),
        (" https://a.example ", ("https", "a.example", 443)),
    ],
)
def test_an_origin_is_scheme_host_and_port(origin, found):
    """In lower case, with the scheme's usual port where none is said."""
    assert normalize(origin) == found


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "a.example",
        "//a.example",
        "file:///x",
        "ws://a.example",
        "chrome-extension://abc",
        "https://",
        "https://a.example/path",
        "https://a.example?query",
        "https://a.example#fragment",
        "https://user@a.example",
        "https://user:password@a.example",
        "https://a.example:port",
        "https://a.example:99999",
        "https://[::1",
    ],
)
def test_what_is_no_origin(origin):
    """`null`, other schemes and everything with more than scheme, host and port is none."""
    assert normalize(origin) is None
    assert not allowed(origin)
    assert not allowed(origin, allowed=["*"])


def test_the_own_host_is_allowed():
    """The request's Host header names an allowed origin, with its port."""
    assert allowed("https://chat.example.com")
    assert allowed("https://chat.example.com:443")
    assert allowed("https://chat.example.com:8443", host="chat.example.com:8443")
    assert allowed("https://CHAT.example.com")
    assert not allowed("https://chat.example.com:8443")
    assert not allowed("https://chat.example.com", host="chat.example.com:8443")


def test_a_secure_request_is_no_page_of_http():
    """Over TLS a page of http:// on the same host is another origin; without, a proxy may have ended it."""
    assert not allowed("http://chat.example.com")
    assert allowed("http://chat.example.com", secure=False)
    assert allowed("https://chat.example.com", secure=False)


def test_a_host_that_is_not_trusted_vouches_for_nobody():
    """Without trust, or without a Host, only the list counts."""
    assert not allowed("https://chat.example.com", trust_host=False)
    assert not allowed("https://chat.example.com", host="")
    assert allowed("https://chat.example.com", trust_host=False, allowed=["https://chat.example.com"])


def test_the_list_is_compared_part_by_part():
    """Scheme, host and port must be equal: no prefix, no subdomain."""
    listed = ["https://app.example.com", "http://localhost:3000"]
    assert allowed("https://app.example.com", allowed=listed)
    assert allowed("http://localhost:3000", allowed=listed)
    for origin in (
        "http://app.example.com",
        "https://app.example.com:444",
        "https://x.app.example.com",
        "https://app.example.com.evil.example",
        "https://evil-app.example.com",
        "http://localhost",
        "http://127.0.0.1:3000",
    ):
        assert not allowed(origin, allowed=listed), origin


def test_a_star_allows_every_page_and_still_no_null():
    """`*` in the list: any origin, but it must be one."""
    assert allowed("https://anything.example", allowed=["*"])
    assert not allowed("null", allowed=["*"])


def test_without_an_origin_it_is_a_program():
    """No Origin: accepted, unless it signs in by cookie."""
    assert allowed(cookie=False)
    assert not allowed(cookie=True)
    assert not allowed(cookie=True, allowed=["*"])


def test_a_refusal_says_that_it_is_the_origin():
    """403 `forbidden_origin`, in the same words for every origin."""
    with pytest.raises(Forbidden) as refused:
        check_origin(["null"], "a.example", True, cookie=False, allowed=[], trust_host=True)
    assert (refused.value.status, refused.value.code) == (403, "forbidden_origin")
    assert "null" not in refused.value.message


def test_two_origins_are_one_too_many():
    """A request with two Origin headers is refused even when both are allowed."""
    assert not allowed("https://chat.example.com", "https://chat.example.com")


@given(st.lists(st.text(), max_size=2), st.text(), st.booleans(), st.booleans())
def test_any_header_is_an_answer(origins, host, secure, cookie):
    """Whatever the headers hold, the answer is yes or Forbidden."""
    allowed(*origins, host=host, secure=secure, cookie=cookie)


# --- the rest of a handshake's request ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        (0, [], "10.0.0.1"),
        (0, ["203.0.113.9"], "10.0.0.1"),
        (1, [], "10.0.0.1"),
        (1, ["203.0.113.9"], "203.0.113.9"),
        (1, ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        (2, ["6.6.6.6", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        (2, ["203.0.113.9"], "10.0.0.1"),
        (1, ["x" * 1000], "x" * 64),
    ],
)
def test_the_address_is_what_a_trusted_proxy_wrote(settings, trusted, forwarded, address):
    """X-Forwarded-For counts from the right, as far as proxies are trusted; a client's own words never do."""
    settings.TRUSTED_PROXIES = trusted
    assert forwarded_address("10.0.0.1", forwarded) == address


@given(st.binary(max_size=200))
def test_any_query_is_read_or_refused(raw):
    """Whatever stands behind the question mark: a dictionary of texts, or 400."""
    try:
        found = read_query(raw)
    except BadRequest:
        return
    assert all(isinstance(part, str) for pair in found.items() for part in pair)


@given(st.lists(st.binary(max_size=100), max_size=3))
def test_any_cookie_is_a_session_or_none(values):
    """Whatever the Cookie headers hold, there is a key or there is none."""
    key = session_key_of([(b"cookie", value) for value in values])
    assert key is None or (isinstance(key, str) and key)


def test_a_session_is_found_among_all_cookies():
    """In any place, in any of several headers, beside cookies that are none."""
    for headers in (
        [(b"cookie", b"sessionid=abc")],
        [(b"cookie", b"a=1; sessionid=abc; b=2")],
        [(b"cookie", b"a=1"), (b"cookie", b"sessionid=abc")],
        [(b"cookie", b'json={"a":[1,2]}; na[me]=x; broken; sessionid=abc; =; ;')],
        [(b"host", b"x"), (b"cookie", b'quoted="a;b"; sessionid=abc')],
    ):
        assert session_key_of(headers) == "abc", headers


def test_a_host_that_no_name_has_is_not_remembered(settings):
    """A Host header beyond 255 characters vouches for no origin, and is kept nowhere."""
    settings.ALLOWED_HOSTS = ["*"]
    _is_ours.cache_clear()
    for size, ours in ((MAX_HOST, True), (MAX_HOST + 1, False)):
        host = "a" * size
        shake = Handshake(host=host, origins=[f"http://{host}"], session_key="one")
        if ours:
            shake.check_origin()
        else:
            with pytest.raises(Forbidden):
                shake.check_origin()
    assert _is_ours.cache_info().currsize == 1
    _is_ours.cache_clear()
