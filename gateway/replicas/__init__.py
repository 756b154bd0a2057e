"""What replicas agree on: which of them leads."""
