"""The vendors of registries, one module each: what differs from the specification, as data and pure functions."""
