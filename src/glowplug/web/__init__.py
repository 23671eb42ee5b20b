"""Routes over a readiness board, for any ASGI application: they see the ground floor alone."""
