"""How many prompts lie between two commits, where nobody says so: some ten seconds of the model's work."""

from itertools import pairwise

import pytest

from llmrec.llm import cache
from llmrec.llm.cache import CachedEngine
from llmrec.llm.fake import FakeEngine
from llmrec.protocols import Prompt, Sampling

PROMPTS = [Prompt(f"prompt {number}") for number in range(1000)]


def lengths(path, ask):
    """Return how many prompts were committed at a time."""
    told = [0]
    engine = CachedEngine(FakeEngine(), path, progress=lambda done, _: told.append(done))
    ask(engine)
    engine.close()
    return [after - before for before, after in pairwise(told)]


@pytest.mark.parametrize("kind", ["logprobs", "generate"])
def test_a_fast_engine_gets_longer_batches_and_a_slow_one_shorter(monkeypatch, tmp_path, kind):
    def ask(engine):
        if kind == "logprobs":
            engine.logprobs(PROMPTS, [["yes", "no"]] * len(PROMPTS))
        else:
            engine.generate(PROMPTS, Sampling())

    monkeypatch.setattr(cache, "_SECONDS", 1e9)
    assert lengths(tmp_path / "fast.sqlite", ask) == [64, 128, 256, 512, 40]
    monkeypatch.setattr(cache, "_LONGEST", 128)
    assert lengths(tmp_path / "bounded.sqlite", ask) == [64, *[128] * 7, 40]
    monkeypatch.setattr(cache, "_SECONDS", 0.0)
    assert lengths(tmp_path / "slow.sqlite", ask)[:8] == [64, 32, 16, 8, 4, 2, 1, 1]
    # What the store holds says nothing of the engine's pace.
    monkeypatch.setattr(cache, "_SECONDS", 1e9)
    assert lengths(tmp_path / "slow.sqlite", ask) == [*[64] * 15, 40]


def test_an_answer_among_many_that_are_known_tells_how_long_all_would_take(monkeypatch, tmp_path):
    path = tmp_path / "most.sqlite"
    monkeypatch.setattr(cache, "_SECONDS", 0.1)
    lengths(path, lambda engine: engine.logprobs(PROMPTS[:63], [["a"]] * 63))

    class Slow(FakeEngine):
        def logprobs(self, prompts, answers):
            cache.time.sleep(0.02)
            return super().logprobs(prompts, answers)

    told = []
    engine = CachedEngine(Slow(), path, progress=lambda done, _: told.append(done))
    engine.logprobs(PROMPTS[:128], [["a"]] * 128)  # one of the first 64 takes 0.02 s: all would take over a second
    assert told[:2] == [64, 96]


def test_a_length_that_is_given_stays(tmp_path):
    told = []
    engine = CachedEngine(FakeEngine(), tmp_path / "x.sqlite", commit_every=300, progress=lambda *x: told.append(x[0]))
    engine.logprobs(PROMPTS, [["a"]] * len(PROMPTS))
    assert told == [300, 600, 900, 1000]
