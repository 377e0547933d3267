"""Many pictures: found, decoded, restored and encoded side by side, with a journal that survives a kill."""
