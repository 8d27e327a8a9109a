"""When models retire: a team's own notices, LiteLLM's table, vendors' policies. `dates.load_calendar` reads them."""
