"""Adapters as small things: `files` saves and loads them, `store` finds them by name."""
