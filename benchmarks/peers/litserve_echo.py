"""LitServe with one worker: HTTP process to model process, as ours."""

from __future__ import annotations

import sys

import litserve


class Echo(litserve.LitAPI):
    """Echoes the text."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request: dict) -> str:
        """Take the text out of the body."""
        return request["text"]

    def predict(self, x: str) -> str:
        """Return what came."""
        return x

    def encode_response(self, output: str) -> dict:
        """Wrap the text."""
        return {"text": output}


if __name__ == "__main__":
    litserve.LitServer(Echo(), accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
