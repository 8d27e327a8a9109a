"""From a candidate to a runnable DSPy program. The only package that imports dspy."""
