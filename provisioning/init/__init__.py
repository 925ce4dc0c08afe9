"""`cluster-ai init`: the first cluster-ai.yml, written after a look at what answers."""
