"""Records of other sensors: read from files and requests, mapped to the hunting tables, stored once."""
