"""Generator adapters: the one door through which every model's samples come."""
