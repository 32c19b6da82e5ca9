"""Everything that is measured, in one shape."""
