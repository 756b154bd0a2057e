"""How a sandbox stands: its load, its memory, and what it lacks, as its kernel tells."""
