"""Simulated worlds in which policies choose, with what their choices cost."""

import numpy as np


class LinearWorld:
    """Each arm's mean reward is a linear function of a random context; the noise is normal."""

    def __init__(self, arms=5, dimension=4, noise=0.1, seed=0):
        rng = np.random.default_rng(seed)
        self.weights = rng.normal(size=(arms, dimension)) / np.sqrt(dimension)
        self.noise, self.rng, self.arms = noise, np.random.default_rng(seed + 1), np.arange(arms)

    def contexts(self, n):
        return self.rng.normal(size=(n, self.weights.shape[1]))

    def means(self, contexts):
        return contexts @ self.weights.T

    def rewards(self, means):
        return means + self.noise * self.rng.normal(size=means.shape)


class ClickWorld:
    """Each arm is clicked at its own rate, whatever the context."""

    def __init__(self, rates, seed=0):
        self.rates, self.rng, self.arms = np.array(rates), np.random.default_rng(seed), np.arange(len(rates))

    def contexts(self, n):
        return np.zeros((n, 0))

    def means(self, contexts):
        return np.tile(self.rates, (len(contexts), 1))

    def rewards(self, means):
        return (self.rng.random(means.shape) < means).astype(float)


def regrets(world, policy, steps):
    """Return what a policy has lost against the best arm after each step, (steps,)."""
    lost = np.empty(steps)
    for step in range(steps):
        contexts = world.contexts(1)
        means = world.means(contexts)
        chosen = policy.choose(contexts, world.arms).arms
        policy.update(contexts, chosen, world.rewards(means[0, chosen]))
        lost[step] = means.max() - means[0, chosen[0]]
    return np.cumsum(lost)


def growth(lost, start):
    """Return the slope of the logarithm of regret on that of time, from a step on; 1 is linear growth."""
    steps = np.arange(start, len(lost))
    return np.polyfit(np.log(steps), np.log(lost[start:]), 1)[0]
