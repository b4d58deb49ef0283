"""Models of data that are read in chunks: sources, the pass over them, and what is fitted without rows."""
