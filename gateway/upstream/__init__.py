"""The leg towards a sandbox: addresses that may be dialled, connections, the pool of idle ones."""
