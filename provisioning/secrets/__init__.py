"""The passwords, tokens and keys of a production installation: made, looked at and replaced, never shown."""
