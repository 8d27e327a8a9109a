"""The holdout: what the search leaves for it, and who is evaluated and timed on it afterwards."""
