"""Raw files become a Dataset; a Dataset becomes a Split."""
