"""A chat service on Django Channels, and the realtime layer under it that other Django apps extend."""
