"""One suite that every backend passes, and the features of peers that ours must have too."""
