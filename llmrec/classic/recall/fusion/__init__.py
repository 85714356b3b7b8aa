"""Several lists of candidates side by side: who proposed what, and what for."""
