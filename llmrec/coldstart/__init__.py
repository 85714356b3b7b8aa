"""Cold start: a language model simulates what users would do with items that nobody has touched."""
