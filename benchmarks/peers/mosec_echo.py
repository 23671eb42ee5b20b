"""mosec with one worker; its port comes from its own flag, `--port`."""

from __future__ import annotations

from mosec import Server, Worker


class Echo(Worker):
    """Echoes the text."""

    def forward(self, data: dict) -> dict:
        """Return what came."""
        return {"text": data["text"]}


if __name__ == "__main__":
    server = Server()
    server.append_worker(Echo, num=1)
    server.run()
