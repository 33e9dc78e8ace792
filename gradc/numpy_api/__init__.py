"""NumPy functions on Tracers, by subject. Importing this package registers them all."""
