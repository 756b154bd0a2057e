"""TLS (RFC 8446): contexts that follow their files, and streams that carry them."""
