"""Instructions that a model writes during the search: who proposes them, what is dropped, and when they join."""
