"""The parts of ``bench/retrieval.py``: corpora, questions, adapters, metrics, statistics and tables."""
