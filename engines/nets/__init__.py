"""Networks, one file each: the definition and its config together."""
