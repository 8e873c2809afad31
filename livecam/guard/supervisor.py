"""Main side: the worker's life. Starts it, watches it, kills it, reaps it, replaces its segments, and starts the next."""
