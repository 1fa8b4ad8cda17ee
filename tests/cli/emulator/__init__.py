"""The local stand-in for the extension and the agent."""
