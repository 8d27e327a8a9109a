"""Before a model goes: retirement dates, prices that moved, possible successors, names in an app's own files."""
