"""Vendors' own listings of the digests of all tags of a repository: one module per vendor, loaded when it is used."""
