"""What bench/engine.py is made of, and the memory beside it."""
