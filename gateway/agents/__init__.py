"""Other programs from the same code: what runs beside the gateway, on nodes and in guests."""
