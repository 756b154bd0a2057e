"""What a sandbox is to the gateway: pure values and rules, without I/O and without a clock."""
