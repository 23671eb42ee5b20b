"""Glowplug makes self-hosted AI models ready, says so honestly, and never sends work where it is not."""
