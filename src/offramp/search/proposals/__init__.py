"""Instructions that a model writes while the search goes on: who proposes, what is dropped, and when they join."""
