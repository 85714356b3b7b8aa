"""Rankers that learn from data: linear models, trees, factorisation machines and deep networks on declared features."""
