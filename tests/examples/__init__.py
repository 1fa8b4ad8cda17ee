"""The examples that deploy and the release, with the tools that people deploy with."""
