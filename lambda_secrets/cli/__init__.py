"""The command line: one module per command; `emulator` needs no extra."""
