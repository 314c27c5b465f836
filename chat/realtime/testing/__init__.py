"""A test kit for apps on the realtime layer: real servers, a real Redis, clients that wait for conditions.

Nothing in here touches a server, a Redis or a database that runs already, and nothing leaves this machine.
"""

from .client import Client, NotSeen
from .layers import default_layer
from .process import Process, free_port
from .proxy import Proxy, RedisProxy
from .quiet import QuietSocket
from .raw import RawFrame, RawSocket, Response
from .redis import RedisServer
from .server import RealtimeServer, User
from .waiting import LIMIT, eventually, wait_until

__all__ = [
    "LIMIT",
    "Client",
    "NotSeen",
    "Process",
    "Proxy",
    "QuietSocket",
    "RawFrame",
    "RawSocket",
    "RealtimeServer",
    "RedisProxy",
    "RedisServer",
    "Response",
    "User",
    "default_layer",
    "eventually",
    "free_port",
    "wait_until",
]
