"""The client of the distribution specification: HTTP, authentication, manifests, blobs, listings.

`registries.Registries` is the entry point. This package imports nothing itself, so that importing `settings` alone does
not load the HTTP library.
"""
