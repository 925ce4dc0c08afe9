"""The way in: addresses, TLS, passwords, limits. It knows nothing of targets."""
