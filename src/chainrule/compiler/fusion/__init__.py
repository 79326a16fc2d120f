"""A graph as one Numba module: what is computed row by row goes into loops over rows, products go to BLAS."""
