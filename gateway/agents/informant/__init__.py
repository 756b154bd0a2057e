"""`informant`: says in a sandbox how much it needs, and agrees or not to having less."""
