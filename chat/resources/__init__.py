"""Models over WebSocket: reads, writes and live subscriptions for what an app registers."""
