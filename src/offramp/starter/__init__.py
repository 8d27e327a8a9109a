"""What `offramp init` writes: a first space file from data, or a shipped example."""
