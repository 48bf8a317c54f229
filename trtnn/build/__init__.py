"""From a network to an engine: how it is built, what is pinned and timed, and what is kept for the next time."""
