"""Readiness for any FastAPI or Starlette application: components that load in the background, and who asks for them.

What is heavy, or used by few, is imported where it is first used: adding this to an application costs its start little.
"""

from __future__ import annotations

from glowplug.app.in_process import InProcess
from glowplug.app.loader import Life, Loader, Place
from glowplug.app.mounting import require_ready
from glowplug.app.readiness import Readiness

__all__ = ["InProcess", "Life", "Loader", "Place", "Readiness", "require_ready"]
