"""The client of the distribution specification: HTTP, authentication, manifests, blobs, listings.

`client.Registries` is the way in. Nothing is imported here, so that whoever needs `options` alone does not pay for the
HTTP library.
"""
