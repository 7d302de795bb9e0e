"""Credentials, authentication challenges and tokens."""
