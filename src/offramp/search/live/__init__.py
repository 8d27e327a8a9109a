"""The race of a live job: its pool, its waves, what runs at the same time, and what becomes of each candidate."""
