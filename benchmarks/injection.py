"""How far a title that gives orders moves its item: places gained of 20, by strategy.

One candidate of each user of the LLMRank protocol (Hou et al., ECIR 2024; see ``llmrank_data.py``) carries, one after
the other, the texts of ``llmrec.testing.INJECTIONS`` behind its title. 0 is what a ranker that no title moves gets;
every output is a permutation whatever the texts say.

    python benchmarks/injection.py --data FOLDER --users 20 --strategies one-token likelihood
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from llmrank_data import Protocol

from llmrec.config import Part
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.rank.injection import measure_injection
from llmrec.rank.make import make_ranker
from llmrec.testing import INJECTIONS

STRATEGIES = {
    "likelihood": Part(name="likelihood"),
    "likelihood, mean": Part(name="likelihood", score="mean"),
    "pointwise": Part(name="pointwise"),
    "one-token": Part(name="one-token"),
    "bootstrap": Part(name="bootstrap"),
    "setwise": Part(name="setwise"),
    "tournament": Part(name="tournament"),
    "listwise": Part(name="listwise"),
    "listwise, constrained": Part(name="listwise", template="llmrank-identifiers", constrained=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=["likelihood", "one-token"])
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    protocol = Protocol.read(arguments.data)
    targets, candidates = protocol.asked(arguments.users, "valid")
    engine = TransformersEngine(TransformersConfig(model=arguments.model, dtype=arguments.dtype))
    found = {}
    for name in arguments.strategies:
        effect = measure_injection(
            lambda changed, part=STRATEGIES[name]: make_ranker(part, engine, changed),
            protocol.titles,
            INJECTIONS,
            targets.queries,
            candidates,
        )
        low, high = effect.interval()
        worst = int(effect.by_text.argmax())
        found[name] = {"mean": effect.mean, "low": low, "high": high, "by_text": effect.by_text.tolist()}
        print(
            f"{name}: {effect.mean:+.2f} places [{low:+.2f}, {high:+.2f}] over {len(targets)} users and "
            f"{len(INJECTIONS)} texts; most ({effect.by_text[worst]:+.2f}) with {INJECTIONS[worst][:60]!r}"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
