"""Room passwords: checked off the loop, one at a time a worker, and guesses counted.

A password hash is made to be slow (0.1 to 0.5 s of a processor). So a worker has one thread for them and a
short queue, apart from the database's threads: a flood of guesses holds up neither handshakes without a
password nor messages. What was right once is remembered, by a digest that is good in this process only: a
whole room that reconnects costs one hash. Guesses are counted per address and
room, and per address over all rooms, on all workers.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

from django.contrib.auth.hashers import check_password

from chat.realtime import Forbidden, LayerUnavailable, Refused, Unavailable
from chat.realtime.hub import Hub
from chat.realtime.layers import LoopLayer
from chat.realtime.limits import address_count
from chat.realtime.redis_link import settle
from chat.validators import PASSWORD_LENGTH

HEADER = b"x-room-password"
MAX_WAITING = 8  # hashes that wait for the thread: 4 s of the 15 that a handshake may take
MAX_KNOWN = 10_000  # right passwords that are remembered
GUESSES = 5  # wrong ones of one address for one room ...
GUESSES_OF_ADDRESS = 30  # ... and for all rooms together: whoever knows many rooms tries no more ...
WINDOW = 60.0  # ... in so many seconds, from the first
MAX_GUESSERS = 10_000  # addresses, and addresses at rooms, without Redis

Guesser = tuple[str, str]  # the names of two counts: of an address, and of the address at a room

_thread = ThreadPoolExecutor(1, thread_name_prefix="chat.passwords")
_secret = secrets.token_bytes(32)
_known: OrderedDict[bytes, None] = OrderedDict()
_attempts: dict[Any, asyncio.Task[None]] = {}
_hashes: dict[Any, asyncio.Task[bool]] = {}
_guesses: OrderedDict[str, list[float]] = OrderedDict()  # [when the window ends, guesses]; without Redis

# KEYS: an address's guesses for all rooms, and for one. ARGV: window in ms, most guesses of each.
# Counts in both or in none. Returns 0, or in how many ms the next one is taken.
_RESERVE = """
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or 0) >= tonumber(ARGV[i + 1]) then return redis.call('PTTL', key) end
end
for _, key in ipairs(KEYS) do
  redis.call('INCR', key)
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[1]) end
end
return 0
"""
_RELEASE = """
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then redis.call('DECR', key) end
end
return 0
"""


def given(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The password in a handshake's ``X-Room-Password``: percent-encoded, since servers and proxies do not
    agree about headers beyond ASCII (autobahn takes the byte 0x85 for the end of a line)."""
    for name, value in headers:
        if name == HEADER:
            return unquote(value.decode("utf-8", "replace"))
    return None


async def check(hub: Hub, room: str, encoded: str, password: Any, address: str | None) -> None:
    """Compare what a client gave with a room's hash. Raises Forbidden(``password_required``) where it gave
    nothing, Forbidden, Refused(``rate_limited``), Unavailable, LayerUnavailable."""
    if password is None:
        raise Forbidden("This room has a password.", code="password_required")
    if type(password) is not str or not 0 < len(password) <= PASSWORD_LENGTH:
        raise _wrong()
    digest = blake2b(
        f"{encoded}\0{password}".encode("utf-8", "replace"), key=_secret, digest_size=16
    ).digest()
    if digest in _known:
        _known.move_to_end(digest)
        return
    guesser = _guesser(room, address)
    await _once(_attempts, (hub, digest, guesser), lambda: _attempt(hub, digest, guesser, encoded, password))


async def _attempt(hub: Hub, digest: bytes, guesser: Guesser, encoded: str, password: str) -> None:
    """Take one of the guesses that are left, and give it back if it was none."""
    wait = await _reserve(hub, guesser)
    if wait > 0:
        words = "Too many wrong passwords. Try again later."
        raise Refused(words, code="rate_limited", status=429, retry_after=wait)
    if (hub, digest) not in _hashes and len(_hashes) > MAX_WAITING:
        _release(hub, guesser)
        raise Unavailable("Too many passwords are being checked. Try again.", retry_after=2)
    if not await _once(_hashes, (hub, digest), lambda: _hash(encoded, password)):
        raise _wrong()
    _release(hub, guesser)
    _known[digest] = None
    while len(_known) > MAX_KNOWN:
        _known.popitem(last=False)


async def _hash(encoded: str, password: str) -> bool:
    return await asyncio.get_running_loop().run_in_executor(_thread, check_password, password, encoded)


def _wrong() -> Forbidden:
    return Forbidden("The password is wrong.")


async def _once(
    under_way: dict[Any, asyncio.Task[Any]], key: Any, begin: Callable[[], Coroutine[Any, Any, Any]]
) -> Any:
    """What ``begin`` does, once for all who ask while it is under way; none of them can end it for others."""
    task = under_way.get(key)
    if task is None:
        task = under_way[key] = asyncio.get_running_loop().create_task(begin())

        def done(task: asyncio.Task[Any]) -> None:
            under_way.pop(key, None)
            if not task.cancelled():
                task.exception()  # all who asked may have gone: then it is nobody's

        task.add_done_callback(done)
    return await asyncio.shield(task)


# --- guesses ----------------------------------------------------------------------------------------------


def _guesser(room: str, address: str | None) -> Guesser:
    """Who guesses at what, as names that can stand in keys; an IPv6 network of 64 bits is one address."""
    counted = "" if address is None else address_count(address)
    return _digest(counted), _digest(f"{counted}\0{room}")


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


async def _reserve(hub: Hub, guesser: Guesser) -> float:
    """Count a guess. Returns 0, or in how many seconds the next one is taken; raises LayerUnavailable."""
    layer = hub.layer
    if not isinstance(layer, LoopLayer):
        return _reserve_here(guesser, hub.loop.time())
    answer: asyncio.Future[int] = hub.loop.create_future()
    most = (GUESSES_OF_ADDRESS, GUESSES)
    _eval(layer, guesser, _RESERVE, int(WINDOW * 1000), *most, done=lambda result: settle(answer, result))
    try:
        return await answer / 1000
    except (OSError, TimeoutError) as error:
        raise LayerUnavailable() from error


def _release(hub: Hub, guesser: Guesser) -> None:
    layer = hub.layer
    if isinstance(layer, LoopLayer):
        _eval(layer, guesser, _RELEASE)
        return
    for name in guesser:
        if name in _guesses:
            _guesses[name][1] -= 1


def _eval(layer: LoopLayer, guesser: Guesser, script: str, *arguments: int, **options: Any) -> None:
    """Both counts are on the address's Redis."""
    keys = [f"{layer.prefix}:guesses:{name}" for name in guesser]
    layer.link_of(guesser[0]).command("EVAL", script, len(keys), *keys, *arguments, **options)


def _reserve_here(guesser: Guesser, now: float) -> float:
    """The same with one process."""
    windows = []
    for name, most in zip(guesser, (GUESSES_OF_ADDRESS, GUESSES), strict=True):
        window = _window(name, now)
        if window[1] >= most:
            return window[0] - now
        windows.append(window)
    for window in windows:
        window[1] += 1
    return 0


def _window(name: str, now: float) -> list[float]:
    """The oldest windows go first where there are too many."""
    found = _guesses.get(name)
    if found is None or found[0] <= now:
        _guesses.pop(name, None)
        found = _guesses[name] = [now + WINDOW, 0]
        while len(_guesses) > MAX_GUESSERS:
            _guesses.popitem(last=False)
    return found
