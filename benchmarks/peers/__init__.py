"""The peers: each a program of its own, run in `.venv-peers`."""
