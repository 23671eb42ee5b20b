"""Doors to other people's systems: what they ask for and what they are told, in the form that they know."""
