"""The adapters by name; a module is imported when its adapter is made, so none needs another's packages."""

import importlib
from types import MappingProxyType

from retrieval_bench.adapters.adapter import Adapter
from retrieval_bench.adapters.embedders import load_embedder

# Name: module, class, whether it takes the embedder.
_ADAPTERS = MappingProxyType(
    {
        "ours": ("ours", "OursHybrid", False),
        "ours-text": ("ours", "OursText", False),
        "ours-vectors": ("ours", "OursVectors", False),
        "plain-bm25": ("plain_bm25", "PlainBM25", False),
        "ripgrep-keywords": ("ripgrep", "RipgrepKeywords", False),
        "ripgrep-literal": ("ripgrep", "RipgrepLiteral", False),
        "semble": ("semble", "Semble", True),
        "semble-timing": ("semble", "SembleForTiming", False),
    }
)
ADAPTERS = tuple(_ADAPTERS)


def needs_embedder(name: str) -> bool:
    """Return whether the adapter embeds."""
    return _ADAPTERS[name][2]


def make_adapter(name: str, embedder: str) -> Adapter:
    """Make an adapter; ``embedder`` is for those that embed."""
    module, class_name, _ = _ADAPTERS[name]
    made = getattr(importlib.import_module(f"retrieval_bench.adapters.{module}"), class_name)
    adapter: Adapter = made(load_embedder(embedder)) if needs_embedder(name) else made()
    return adapter
