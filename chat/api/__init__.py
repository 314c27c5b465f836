"""The HTTP API under /api/chat-api/, for operators and for load balancers."""
