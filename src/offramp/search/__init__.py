"""The search: ask, evaluate, tell; objectives and utility; the front. The only package that imports optuna."""
