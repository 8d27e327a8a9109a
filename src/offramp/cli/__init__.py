"""The command line. Each command parses its arguments, calls one library function and prints the result.

Invariant: importing `offramp.cli.main` imports no command; a command's imports are paid for when it runs.
"""
