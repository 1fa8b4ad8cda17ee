"""Each backend by itself: its requests, the replies it accepts, and how it handles faults."""
