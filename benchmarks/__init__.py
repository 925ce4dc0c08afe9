"""What the exporter costs, beside what people use today and beside the upstream's own answer: `make bench`."""
