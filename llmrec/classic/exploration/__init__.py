"""Exploration: policies that learn from what they show, and re-rankers that give uncertain candidates a chance."""
