"""How a gateway fares with very many Sandboxes on a real API server, and what a million would take.

`python -m e2e.scale --help`; the figures are explained in README.md.
"""
