"""A space resolved into what can run, and the one composition that runs candidates."""
