"""A small HTTP/1.1 client on non-blocking sockets: what a registry needs, at a fraction of a library's cost."""
