"""Parts that tests share: real services, and other ends that fail on purpose."""
