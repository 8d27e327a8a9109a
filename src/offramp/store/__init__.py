"""What outlives a process: calls, money, results and studies, in SQLite or PostgreSQL."""
