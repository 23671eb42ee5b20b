"""Bodies of `/api/ready` as a server would send them."""

from __future__ import annotations

from typing import Any

Body = dict[str, Any]


def chat(**changes: Any) -> Body:
    """Return a service that is ready."""
    return {
        "ready": True,
        "status": "ready",
        "required": True,
        "label": "Chat",
        "model": "tiny-chat",
        "progress": 100,
        **changes,
    }


def tts(**changes: Any) -> Body:
    """Return a service that reads its weights."""
    running = {"progress": 43, "loading_seconds": 12.7, "stage": "read", "message": "Reading weights, 3.1 of 9.8 GB"}
    named = {"label": "Speech", "model": "tiny-voice", "required": True}
    return {"ready": False, "status": "loading", **named, **running, **changes}


def failed(**changes: Any) -> Body:
    """Return a service that ran out of memory."""
    error = {"status": "error", "message": None, "error": "Out of memory", "error_class": "out_of_memory"}
    return tts(**error, **changes)


def loading(**changes: Any) -> Body:
    """Return the whole while it loads."""
    return {
        "ready": False,
        "state": "LOADING_MODELS",
        "phase": "loading",
        "progress": 43,
        "services": {"chat": chat(), "tts": tts()},
        "message": "AI models are still loading",
        "estimated_seconds": None,
        "loading_seconds": 12.7,
        "retry_after": 2,
        "errors": [],
        "links": {"retry": "ready/retry", "stream": "../stream"},
        **changes,
    }


def error(**changes: Any) -> Body:
    """Return the whole after a failure."""
    words = "Speech initialization failed: Out of memory"
    services = {"chat": chat(), "tts": failed()}
    return loading(
        **{"state": "ERROR", "phase": "error", "message": words, "errors": [words], "services": services, **changes}
    )


def ready(**changes: Any) -> Body:
    """Return the whole when work may come."""
    return {"ready": True, "state": "READY", "progress": 100, "services": {"chat": chat()}, "errors": [], **changes}
