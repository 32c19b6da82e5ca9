"""The steps, by revision."""
