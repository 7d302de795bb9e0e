"""image-syncer keeps container images in step between registries.

The Python API is provisional until 1.0: `open_app` gives a `Syncer` that copies, plans and synchronises with the same
outcomes and errors as the command line.
"""

__version__ = "0.1.0.dev0"
"""The version that `pyproject.toml` has: to ask the installed metadata takes longer than many a run."""
