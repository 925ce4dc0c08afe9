"""Reads Dask, Ollama and Open WebUI and speaks Prometheus."""
