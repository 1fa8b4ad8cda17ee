"""Parts that tests share: real services, and servers that fail on purpose."""
