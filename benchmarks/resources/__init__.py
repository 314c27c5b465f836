"""The part of the run that is about models over WebSocket: its servers, workloads, metrics and targets."""
