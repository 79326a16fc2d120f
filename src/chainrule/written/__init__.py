"""A graph as people write it: as NumPy code and as mathematics."""
