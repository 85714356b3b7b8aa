"""Several processes may write one store at once."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from llmrec.llm.cache import CachedEngine
from llmrec.llm.fake import FakeEngine
from llmrec.llm.store import AnswerStore
from llmrec.protocols import Prompt

WRITER = """
import sys, time
from pathlib import Path
from llmrec.llm.cache import CachedEngine
from llmrec.llm.fake import FakeEngine
from llmrec.protocols import Prompt

path, begin, first = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
time.sleep(max(0.0, begin - time.time()))
engine = CachedEngine(FakeEngine(), path, commit_every=1)
prompts = [Prompt(f"prompt {number}") for number in range(first, first + 60)]
engine.logprobs(prompts, [["x", "y"]] * 60)
print(engine.usage.cache_hits + engine.usage.cache_misses)
"""
FIRST = (0, 30, 60, 0)


def test_writers_that_start_together_on_a_new_file_lose_nothing(tmp_path):
    path, begin = tmp_path / "answers.sqlite", time.time() + 2.0
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(begin), str(first)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in FIRST
    ]
    results = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(FIRST), results
    assert [out.strip() for out, _ in results] == ["120"] * len(FIRST)
    engine = CachedEngine(FakeEngine(), path)
    prompts = [Prompt(f"prompt {number}") for number in range(120)]
    scores = engine.logprobs(prompts, [["x", "y"]] * 120)
    assert (engine.usage.cache_hits, engine.usage.cache_misses, len(engine.store)) == (240, 0, 240)
    expected = FakeEngine().logprobs(prompts, [["x", "y"]] * 120)
    assert [row.tolist() for row in scores] == [row.tolist() for row in expected]


def test_a_new_store_can_be_opened_by_many_at_the_same_moment(tmp_path):
    together = Barrier(6)

    def open_and_write(round_, number):
        together.wait()
        store = AnswerStore(tmp_path / f"{round_}.sqlite")
        store.put([(bytes([number]), float(number))])
        store.close()

    with ThreadPoolExecutor(6) as pool:
        for round_ in range(40):
            list(pool.map(open_and_write, [round_] * 6, range(6)))
            assert len(AnswerStore(tmp_path / f"{round_}.sqlite")) == 6
