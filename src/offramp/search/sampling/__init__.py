"""What Optuna proposes, and what it learns of what was tried."""
