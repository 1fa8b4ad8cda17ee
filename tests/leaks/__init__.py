"""One canary value goes down every path, success and failure; nothing may show it."""
