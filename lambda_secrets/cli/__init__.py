"""The command line: one module a command; `standin` needs no extra."""
