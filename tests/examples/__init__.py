"""The deployable examples and the release, tested with the tools that people deploy with."""
