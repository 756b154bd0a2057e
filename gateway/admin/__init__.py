"""Health, readiness, metrics and the admin API: what operators and their tools ask."""
