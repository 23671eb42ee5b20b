"""Ready-made models. Each is a package of its own, and an example of how to write one."""
