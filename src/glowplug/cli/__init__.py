"""The command line: one verb a file, presentation only. What a verb does is in the client and the assembly.

Nothing heavy is imported before a verb runs: `glowplug --help` answers at once, and a worker starts fast.
"""
