"""Requests of a search in batches, at the prices of the batch interfaces."""
