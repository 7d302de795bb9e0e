"""Image layouts on disk (image-spec image-layout.md): directories and archives, the second implementation of the roles.

A layout is untrusted input. Its files are opened by digest below its directory, never through a link. An archive is
never unpacked: its members are read where they lie.
"""
