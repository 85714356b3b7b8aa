"""Prompt experiments: a grid of prompts, strategies, engines and histories over the same users."""
