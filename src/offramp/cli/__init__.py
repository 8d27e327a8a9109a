"""The command line: one file a command, each of which parses, calls one library function and prints.

Invariant: importing `offramp.cli.main` imports no command; a command's imports are paid for when it runs.
"""
