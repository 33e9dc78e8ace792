"""Arrays with axes whose length is known only when the code runs: ``a[:i]``, ``a[mask]``."""
