"""The commands as functions for programs and notebooks: `offramp.optimize(...)` and the others.

Each calls the one library function that its command calls. What a notebook needs beside that is here: a run inside of
an event loop, a bar while it runs, and an exception where it fails.
"""
