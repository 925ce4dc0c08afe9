"""Whom an alert reaches: people, routes and hours of `cluster-ai.yml` as an Alertmanager configuration."""
