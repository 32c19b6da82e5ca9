"""Text to vectors: near vectors, near meanings.

Every module holds one kind of ``protocols.Embedder``. None of them knows what is searched or stored.
"""
