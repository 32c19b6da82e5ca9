"""The embedder that vectors come from, for ours and for semble alike."""

import importlib

from coding_assistant.embedding.static import StaticEmbedder
from coding_assistant.protocols import Embedder


def load_embedder(name: str) -> Embedder:
    """Return the product's own embedder, or what ``MODULE.load(ARGUMENT)`` gives for ``MODULE:ARGUMENT``."""
    if not name:
        return StaticEmbedder.load()
    module, _, argument = name.partition(":")
    embedder: Embedder = importlib.import_module(module).load(argument)
    return embedder
