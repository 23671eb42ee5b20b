"""The command line: one verb a file, presentation only. What a verb does is in the client and the assembly.

`main` is where it begins, `quick` the short way to the servers, `app` the verbs for people. Nothing heavy is imported
before a verb runs.
"""
