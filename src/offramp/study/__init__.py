"""A study as it is stored: its objectives, its report. Reads the storage alone; makes no call and needs no optuna."""
