import pytest

from coding_assistant.protocols import Embedder
from support.embedder_contract import EmbedderContract
from support.hashing_embedder import HashingEmbedder


class TestHashingEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashingEmbedder(64)
