"""llama.cpp's server, compiled for this machine: fetched, compiled, tried and put in its place.

``build`` is the whole; the other modules are its parts. Nothing here knows which engine runs a model.
"""
