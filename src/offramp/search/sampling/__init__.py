"""What Optuna proposes, and what it is told."""
