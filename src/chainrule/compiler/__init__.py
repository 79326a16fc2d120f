"""A graph made fast: planned NumPy, fused machine code, and the cache on disk that keeps it."""
