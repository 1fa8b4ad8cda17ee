"""The documents of the repository, read and run."""
