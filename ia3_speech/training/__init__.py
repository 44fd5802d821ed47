"""Training in rooms: options, examples (what flows in), loop, state (what lets a killed run go on)."""
