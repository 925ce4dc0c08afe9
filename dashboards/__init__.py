"""The pages: Python in, Grafana's JSON out. Their contract with the exporter is the names of metrics, no import."""
