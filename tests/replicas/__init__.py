"""Replicas that agree on a leader."""
