"""A production installation on this host: looked at before it starts, started, stopped."""
