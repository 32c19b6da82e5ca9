"""The HTTP skin: routes that translate between the wire and the assistant."""
