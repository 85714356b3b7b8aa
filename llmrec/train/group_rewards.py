"""What trl asks of rewards while it draws answers, and what is kept of their judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from llmrec.train.finite import Finite
from llmrec.train.processes import together
from llmrec.train.rewards import Weighted, WeightedRewards
from llmrec.train.rows import ROW, SOURCE, TokenRows
from llmrec.train.watching import Report


class Judge:
    """Rewards in trl's calling convention: it hands over the row's number, everything else is looked up here.

    Args:
        parts: the rewards.
        contexts: what is asked.
        samples: answers that are kept of each call.

    Attributes:
        asked: the numbers of the rows that were judged last.
        said: some of them with answer and reward, and each part's mean.
    """

    __name__ = "reward"

    def __init__(self, parts: Sequence[Weighted], contexts: TokenRows, samples: int) -> None:
        self.contexts, self.samples = contexts, samples
        self.rewards = WeightedRewards(parts, lambda row: f"row {contexts.name([self.asked[row]])}")
        self.columns = [name for name in contexts.frame.columns if name not in {"prompt", "system", ROW, SOURCE}]
        self.asked: list[int] = []
        self.said: dict[str, Any] = {}

    def __call__(self, completions: Sequence[Any], number: list[int], **columns: object) -> list[float]:  # noqa: ARG002
        """Return the reward of each answer, in all processes or in none.

        Raises:
            TrainingError: a part does not return one finite number for each row.
        """
        self.asked = number
        texts = [answer if isinstance(answer, str) else answer[0]["content"] for answer in completions]
        frame = self.contexts.frame[number]
        prompts = frame["prompt"].to_list()
        with together():
            parts = self.rewards.each(prompts, texts, frame.select(self.columns).to_dict(as_series=False))
        total: list[float] = self.rewards.total(parts).tolist()
        shown = zip(prompts[: self.samples], texts, total, strict=False)
        self.said = {f"reward/{name}": float(each.mean()) for name, each in parts.items()}
        self.said["samples"] = [{"prompt": one, "answer": text, "reward": found} for one, text, found in shown]
        return total


@dataclass(frozen=True, eq=False)
class RewardWatcher(TrainerCallback):
    """Stops at what is no number before it is saved, keeps what was judged in the log, and tells how it goes.

    Attributes:
        finite: names what was read.
        judge: of the answers.
        report: told how it goes.
        last: the checkpoint that training goes on from, or None.
    """

    finite: Finite
    judge: Judge
    report: Report | None
    last: Path | None

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002 - as it is called
        """Load the adapter that learns: beside the frozen copy that trl makes of it, transformers passes it over."""
        model = more["model"]
        if self.last is not None:
            model.load_adapter(self.last, model.active_adapter, is_trainable=True)

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002 - as it is called
        """Raise a TrainingError at a loss or gradient that is no number; keep what was judged."""
        logs, step = more["logs"], state.global_step
        if "loss" in logs:
            self.finite.require_loss(logs["loss"], self.judge.asked, step=step - 1, training=True)
            self.finite.require_gradient(logs, step)
            state.log_history[-1] |= self.judge.said  # what is saved in checkpoints

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002
        """Pass it on."""
        if self.report is not None and state.is_world_process_zero:
            log = state.log_history
            found = next((entry["reward"] for entry in reversed(log) if "reward" in entry), None)
            said = "first answers" if found is None else f"reward {found:.3f}"
            self.report(state.global_step, state.max_steps, said)
