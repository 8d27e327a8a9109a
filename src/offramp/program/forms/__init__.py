"""Modules of several requests for one answer, one file each; `making.py` makes the one that a candidate names."""
