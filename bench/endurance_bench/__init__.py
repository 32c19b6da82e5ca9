"""The parts of bench/endurance.py, one a module."""
