"""Each backend by itself: what it sends, what it takes, what it makes of faults."""
