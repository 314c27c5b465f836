"""What a server's workers say of themselves, asked as an operator's command asks."""

from typing import Any

from .server import RealtimeServer

_ASK = "from chat.realtime.control import ask_sync\nresult = ask_sync(command, args)"


async def ask(server: RealtimeServer, command: str, **args: Any) -> list[dict[str, Any]]:
    """Each worker's answer to ``stats``, ``connections``, ``rooms``, ..."""
    answers: list[dict[str, Any]] = await server.adjango(_ASK, command=command, args=args)
    return answers


async def pids(server: RealtimeServer) -> dict[str, int]:
    """Worker id → process id."""
    return {worker["worker"]: worker["pid"] for worker in await ask(server, "stats")}
