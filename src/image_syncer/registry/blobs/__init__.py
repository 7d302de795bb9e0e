"""Blobs of one repository: look up, mount, resumable download and upload."""
