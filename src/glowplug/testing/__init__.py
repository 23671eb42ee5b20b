"""Conformance suites, one for each contract, and doubles: for our own tests and for authors of adapters."""
