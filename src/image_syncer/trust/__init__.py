"""Verifies signatures and signed statements, offline: the gates of rules (`trust:`) and our own statements (`attest:`).

The libraries of the extra `trust` are imported only once a rule needs them.
"""
