"""Winners as config: immutable promotion files with their evidence, movable labels, history, loading, gates, exports.

Reading is light: `promotion`, `reading`, `yaml_text`, `folder` and `render` import nothing but the floor and yaml, so
that an app loads what was promoted without dspy, litellm or optuna.
"""
