"""Brings the people, teams, folders and programs of `cluster-ai.yml` into a running Grafana, over its HTTP API."""
