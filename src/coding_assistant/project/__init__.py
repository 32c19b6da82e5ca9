"""A folder on disk becomes chunks: which files count, what language they are, where to cut them.

It knows nothing of indexes or models; everything here is blocking.
"""
