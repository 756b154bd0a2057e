"""`observe`: tells the gateway which connections to sandboxes pass its node without passing it."""
