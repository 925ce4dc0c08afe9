"""Backups of a production installation: made nightly, encrypted, restored once a week as a test."""
