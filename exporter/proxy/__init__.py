"""Stands in front of an Ollama, passes every byte on as it came, and measures what people wait for."""
