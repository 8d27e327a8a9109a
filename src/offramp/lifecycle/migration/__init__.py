"""From a notice to a proposal: today's config on the models that could replace its own, unchanged and searched."""
