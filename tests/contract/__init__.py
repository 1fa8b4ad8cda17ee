"""One suite that every backend passes, and what peers could do that ours must do too."""
