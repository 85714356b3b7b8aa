"""Classic recommenders without a language model: recall, ranking, re-ranking."""
