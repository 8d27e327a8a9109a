"""One request to one model: `caller.py` for a study, `direct.py` for apps; nothing else sends anything to a model."""
