"""Programs compiled ahead of time: objects, libraries and headers that need no Python."""
