"""Measures this project beside plain Channels and Socket.IO in one run: `python -m benchmarks --help`."""
