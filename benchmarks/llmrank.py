"""The LLMRank protocol: zero-shot ranking of 20 candidates by likelihood, quality and speed.

    python benchmarks/llmrank.py --data FOLDER --users 200

See ``llmrank_data.py`` for data and protocol. ``--part valid`` asks for the second-last item instead: choose prompts
there. ``strategies.py`` has the other strategies. The same run times the shared-prefix engine against a
plain forward pass for each (prompt, candidate) pair, batched by 16.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from llmrank_data import Protocol

from llmrec.classic.recall.base.history import popularity
from llmrec.data import Candidates, Targets
from llmrec.eval.metrics import compute
from llmrec.eval.significance import bootstrap_interval
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt
from llmrec.rank.likelihood import LikelihoodConfig, LikelihoodRanker

METRICS = ("ndcg@1", "ndcg@5", "ndcg@10", "ndcg@20")


@torch.inference_mode()
def plain_scores(
    engine: TransformersEngine, prompts: list[Prompt], answers: list[list[str]], *, keep: bool
) -> list[float]:
    """Score each pair with a forward pass over its full text, 16 pairs at a time.

    Args:
        engine: for its model and tokenizer.
        prompts: the prompts.
        answers: the answers of each.
        keep: run the LM head only on the last positions (``logits_to_keep``), a stronger peer than the plain one.
    """
    tokens = engine.tokens
    pairs = [
        (tokens.encode(prompt, room=0), ids)
        for prompt, row in zip(prompts, answers, strict=True)
        for ids in tokens.encode_answers(prompt, row)
    ]
    scores = []
    for start in range(0, len(pairs), 16):
        batch = pairs[start : start + 16]
        width = max(len(prompt) + len(answer) for prompt, answer in batch)
        ids = torch.tensor([[0] * (width - len(p) - len(a)) + p + a for p, a in batch])
        mask = torch.tensor([[0] * (width - len(p) - len(a)) + [1] * (len(p) + len(a)) for p, a in batch])
        last = max(len(answer) for _, answer in batch) + 1
        logits = engine.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            logits_to_keep=last if keep else 0,
        ).logits[:, -last:]
        logprobs = logits.float().log_softmax(-1)
        for row, (_, answer) in enumerate(batch):
            places = logprobs[row, -len(answer) - 1 : -1]
            scores.append(float(places[range(len(answer)), answer].sum()))
    return scores


def measure_speed(
    ranker: LikelihoodRanker, titles: list[str], engine: TransformersEngine, targets: Targets, candidates: Candidates
) -> dict:
    """Return users per second of the three ways over the same users, and how far their scores differ."""
    prompts = [
        ranker.template.render(history=[titles[item] for item in row])
        for row in targets.queries.last(ranker.config.history).lists()
    ]
    answers = [[ranker.template.render_answer(titles[item]) for item in row] for row in candidates.items]
    plain_scores(engine, prompts[:1], answers[:1], keep=False)  # warm up
    seconds, scores = {}, {}
    for name, run in {
        "shared prefix": lambda: np.concatenate(engine.logprobs(prompts, answers)),
        "plain pairs, batch 16": lambda: plain_scores(engine, prompts, answers, keep=False),
        "plain pairs, batch 16, LM head on the answers only": lambda: plain_scores(engine, prompts, answers, keep=True),
    }.items():
        start = time.perf_counter()
        scores[name] = np.array(run())
        seconds[name] = time.perf_counter() - start
    ours = seconds["shared prefix"]
    return {
        name: {
            "users_per_second": len(prompts) / each,
            "ratio": each / ours,
            "largest_difference": float(np.abs(scores[name] - scores["shared prefix"]).max()),
        }
        for name, each in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("LLMREC_DATA", "../shared/data")))
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--part", choices=("test", "valid"), default="test")
    parser.add_argument("--history", type=int, default=20)
    parser.add_argument("--template", default="likelihood-list")
    parser.add_argument("--titles", choices=("natural-year", "natural", "raw-year", "raw"), default="natural-year")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--peer-users", type=int, default=10, help="users of the timed comparison; 0 leaves it out")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    protocol = Protocol.read(arguments.data, style=arguments.titles)
    targets, candidates = protocol.asked(arguments.users, arguments.part)
    popular = candidates.with_scores(popularity(protocol.train())[candidates.items])
    for metric, values in compute(popular, targets, METRICS).items():
        print(f"{arguments.part} popularity {metric}: {100 * values.mean():.2f}")
    engine = TransformersEngine(TransformersConfig(model=arguments.model, dtype=arguments.dtype))
    config = LikelihoodConfig(template=arguments.template, history=arguments.history)
    ranker = LikelihoodRanker(engine, protocol.titles, config)
    ranked = ranker.rank(targets.queries, candidates)
    found = {"users": len(targets), "part": arguments.part, "titles": arguments.titles, "template": arguments.template}
    for metric, values in compute(ranked, targets, METRICS).items():
        low, high = bootstrap_interval(100 * values)
        found[metric] = {"mean": 100 * float(values.mean()), "low": low, "high": high}
        print(f"{arguments.part} {arguments.titles} {metric}: {100 * values.mean():.2f}  [{low:.2f}, {high:.2f}]")
    usage = engine.usage
    tokens = f"{usage.prompt_tokens:,} prompt and {usage.output_tokens:,} answer tokens"
    print(f"{len(targets) / usage.seconds:.2f} users/s, {tokens}")
    found["users_per_second"] = len(targets) / usage.seconds
    if arguments.peer_users:
        some = slice(0, arguments.peer_users)
        found["speed"] = measure_speed(ranker, protocol.titles, engine, targets.select(some), candidates.select(some))
        for name, row in found["speed"].items():
            print(
                f"{name}: {row['users_per_second']:.3f} users/s, {row['ratio']:.2f} x our time, "
                f"largest difference {row['largest_difference']:.1e}"
            )
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
