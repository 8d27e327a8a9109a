"""A study for people: one HTML file (`offramp report`) and a live page (`offramp review`), from the same views."""
