"""Talking with models over a WebSocket: words or speech in, words and speech out."""
