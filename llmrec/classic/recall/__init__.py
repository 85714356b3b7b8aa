"""Recall: models that propose candidates from a history alone."""
