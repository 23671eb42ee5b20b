"""Where settings become running parts: URLs to adapters, adapters to services, services to a process.

Imports inside functions are the rule here and nowhere else: a process loads what it is about to use, in the order in
which others wait for it.
"""

from glowplug.assembly.gateway import serve_gateway
from glowplug.assembly.worker import serve_worker

__all__ = ["serve_gateway", "serve_worker"]
