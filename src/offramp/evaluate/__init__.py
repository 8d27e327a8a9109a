"""One candidate on examples: three-state results, asynchronous, kept as they come."""
