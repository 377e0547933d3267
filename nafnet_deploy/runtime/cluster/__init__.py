"""A folder, here or behind any URL, restored by the machines of a Ray cluster."""
