"""The typed `cluster-ai.yml`: a leaf that every room may import and that imports none."""
