"""What the gateway is compared with: configurations of proxies, and two small ones."""
