"""Tests that read and run the repository's documents."""
