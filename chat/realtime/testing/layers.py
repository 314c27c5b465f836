"""The channel layer of the tests' own process."""

from collections.abc import Iterator
from contextlib import contextmanager

from channels.layers import BaseChannelLayer, channel_layers


@contextmanager
def default_layer(layer: BaseChannelLayer) -> Iterator[None]:
    """Make ``layer`` the one that `get_channel_layer()` returns."""
    before = channel_layers.set("default", layer)
    try:
        yield
    finally:
        if before is None:  # none was made yet: the next one who asks makes it
            del channel_layers.backends["default"]
        else:
            channel_layers.set("default", before)
