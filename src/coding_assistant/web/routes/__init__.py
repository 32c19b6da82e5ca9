"""The routes: each translates one request into one call of the assistant."""
