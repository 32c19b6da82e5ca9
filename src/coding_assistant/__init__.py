"""A private coding assistant for your own code, on your own machine."""
