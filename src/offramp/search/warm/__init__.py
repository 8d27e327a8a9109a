"""Starting from another study: its front goes first, its cells are not paid for again, its trials inform the sampler.

What is taken over is decided once, when the study begins, and kept in its record (`extra["warm"]`): a job that is
continued reads that record and never the other study, which may have moved on.
"""
