"""The systems that are watched and broken in a game day."""
