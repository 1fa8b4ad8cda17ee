"""Tests against real parts: the runtime client, moto's server, other people's decorators."""
