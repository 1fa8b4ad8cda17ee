"""The test suite; a package, so that tests import their shared parts by name."""
