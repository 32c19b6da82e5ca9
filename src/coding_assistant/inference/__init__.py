"""Models and the processes that run them. The only package that knows the native model library."""
