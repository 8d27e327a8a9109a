"""When models go: one's own notices, LiteLLM's table, vendors' policies. Asked by `dates.load_calendar`."""
