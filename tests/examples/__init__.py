"""The examples that deploy, and what a release ships, run with the tools that people deploy with."""
