"""Starting from another study: its front is tried first, its results are reused, its trials inform the sampler.

What is taken over is decided once, when the study begins, and kept in its record (`StudyDetails.warm`). A job that is
continued reads that record and never the other study, which may have changed since.
"""
