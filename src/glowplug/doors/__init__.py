"""Doors to other people's systems: what they are told, in the form that they know."""
