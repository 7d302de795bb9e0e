"""The daemon: builds everything that runs for ever, and keeps it running until told to stop."""
