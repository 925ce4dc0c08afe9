"""Turns one `cluster-ai.yml` into every configuration file of the stack."""
