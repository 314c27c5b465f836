"""An app for the fault tests: handlers that hang, block and fail, and a look inside a worker."""
