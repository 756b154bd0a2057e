"""The whole gateway as its users have it: real processes, real servers, real clients."""
