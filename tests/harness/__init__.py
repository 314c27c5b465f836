"""What the tests stand on: real servers, a real Redis, and clients that wait for conditions, not for time.

Nothing in here touches a server, a Redis or a database that runs already, and nothing leaves this machine.
"""

from .client import Client, all_heard, on_each_worker
from .layers import default_layer
from .process import Process, free_port
from .raw import RawFrame, RawSocket, Response
from .redis import RedisServer
from .server import ChatServer, User
from .waiting import LIMIT, eventually, wait_until

__all__ = [
    "LIMIT",
    "ChatServer",
    "Client",
    "Process",
    "RawFrame",
    "RawSocket",
    "RedisServer",
    "Response",
    "User",
    "all_heard",
    "default_layer",
    "eventually",
    "free_port",
    "on_each_worker",
    "wait_until",
]
