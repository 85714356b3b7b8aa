"""Loss and gradients are those of trl's own trainer and of plain arithmetic; the head runs at answers only."""

import datasets
import numpy as np
import pytest
import torch
import trl
from transformers import AutoModelForCausalLM
from tuning import questions, titles

from llmrec.llm.answer_head import AnswerHead
from llmrec.train.trainer import IGNORED, AnswerTrainer, Collator

ROWS = [*questions(5), *titles(4)]  # answers of 5, 4 and 3 to 9 tokens


def settings(folder, **more):
    fixed = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "max_length": None,
        "logging_steps": 1,
        "seed": 1,
    }
    return trl.SFTConfig(**fixed | more)


def ours(made, rows, tokens, folder, *, mixed=False, **more):
    model, head = made
    fixed = {"remove_unused_columns": False, "dataset_kwargs": {"skip_prepare_dataset": True}}
    parts = {
        "model": model,
        "args": settings(folder, **fixed, **more),
        "data_collator": Collator(0),
        "processing_class": tokens.tokenizer,
    }
    return AnswerTrainer(head, rows, None, parts, mixed=mixed)


def stock(made, rows, tokens, folder, **more):
    """trl's trainer as it is, on the same tokens with a mask of the completion."""
    pairs = list(zip(rows.prompts, rows.answers, strict=True))
    columns = {
        "input_ids": [prompt + answer for prompt, answer in pairs],
        "completion_mask": [[0] * len(prompt) + [1] * len(answer) for prompt, answer in pairs],
    }
    return trl.SFTTrainer(
        model=made[0],
        args=settings(folder, completion_only_loss=True, **more),
        train_dataset=datasets.Dataset.from_dict(columns),
        processing_class=tokens.tokenizer,
    )


def gradients(trainer, counted):
    """The loss of all rows as two batches of one update, and the adapter's gradients."""
    trainer.model.train()
    rows = [trainer.train_dataset[place] for place in range(len(trainer.train_dataset))]
    losses = []
    for batch in (rows[:6], rows[6:]):
        loss = trainer.compute_loss(trainer.model, trainer.data_collator(batch), num_items_in_batch=counted)
        loss.backward()
        losses.append(float(loss.detach()))
    return losses, {n: weight.grad.clone() for n, weight in trainer.model.named_parameters() if weight.requires_grad}


def test_loss_and_gradients_are_the_stock_trainer_s(tuned, encode, tokens, tmp_path):
    rows = encode(ROWS)
    assert {len(answer) for answer in rows.answers} >= {4, 5}
    counted = torch.tensor(sum(map(len, rows.answers)))
    right, theirs = gradients(stock(tuned(), rows, tokens, tmp_path), counted)
    found, mine = gradients(ours(tuned(), rows, tokens, tmp_path), counted)
    assert found == pytest.approx(right, rel=1e-5)
    assert theirs.keys() == mine.keys()
    for name, gradient in theirs.items():
        assert gradient.abs().max() > 1e-4, name
        torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_read_as_it_is_and_learnt_in_float32(tuned, encode, tokens, tmp_path):
    """With a base in bfloat16 no layer of the adapter converts; loss and gradients are those of float32, nearly."""
    rows = encode(ROWS)
    counted = torch.tensor(sum(map(len, rows.answers)))
    right, theirs = gradients(ours(tuned(), rows, tokens, tmp_path), counted)
    model, head = tuned()
    for weight in model.parameters():
        if not weight.requires_grad:
            weight.data = weight.data.bfloat16()
    read = set()
    for name, layer in model.named_modules():
        if name.endswith("lora_A.default"):
            layer.register_forward_pre_hook(lambda _, inputs: read.add(inputs[0].dtype))
    found, mine = gradients(ours((model, head), rows, tokens, tmp_path, mixed=True), counted)
    assert read == {torch.bfloat16}
    assert found == pytest.approx(right, rel=0.02)
    for name, gradient in theirs.items():
        assert mine[name].dtype == torch.float32
        assert torch.cosine_similarity(mine[name].flatten(), gradient.flatten(), 0) > 0.98, name


def test_training_is_the_stock_trainer_s(tuned, encode, tokens, tmp_path):
    """Five updates of two batches each, the last one of a pass smaller: what is logged, and the weights at the end."""
    rows = encode([*ROWS, *titles(5, seed=4)])
    more = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "max_steps": 5, "learning_rate": 3e-3}
    logs, weights = [], []
    for make in (stock, ours):
        trainer = make(tuned(), rows, tokens, tmp_path, **more)
        trainer.train()
        logs.append([[entry["loss"], entry["grad_norm"]] for entry in trainer.state.log_history if "loss" in entry])
        weights.append({n: weight.detach() for n, weight in trainer.model.named_parameters() if weight.requires_grad})
    np.testing.assert_allclose(logs[1], logs[0], rtol=1e-4)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_answers_tokens(tuned, encode, tokens, tmp_path):
    """By hand: all logits, softmax, the mean over answer tokens of -log p, each row alone and without padding."""
    rows = encode(ROWS)
    made = tuned()
    trainer = ours(made, rows, tokens, tmp_path)
    made[0].eval()
    losses = []
    for prompt, answer in zip(rows.prompts, rows.answers, strict=True):
        with torch.inference_mode():
            logits = made[0](torch.tensor([prompt + answer])).logits[0].double().numpy()
        for place, token in enumerate(answer, start=len(prompt)):
            row = logits[place - 1]
            losses.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[token])
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(len(rows))])
    with torch.inference_mode():
        loss = trainer.compute_loss(made[0], batch)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_batch_is_padded_on_the_right():
    rows = [
        {"input_ids": [5, 6, 7, 8], "answer_start": 3, "number": 4},
        {"input_ids": [9, 3], "answer_start": 1, "number": 2},
    ]
    batch = {name: tensor.tolist() for name, tensor in Collator(7)(rows).items()}
    assert batch == {
        "input_ids": [[5, 6, 7, 8], [9, 3, 7, 7]],
        "attention_mask": [[1, 1, 1, 1], [1, 1, 0, 0]],
        "labels": [[IGNORED] * 3 + [8], [IGNORED, 3, IGNORED, IGNORED]],
        "numbers": [4, 2],
    }


def test_the_head_runs_where_answers_are_and_nowhere_else(tuned, encode, tokens, tmp_path):
    rows = encode(ROWS)
    made = tuned()
    trainer = ours(made, rows, tokens, tmp_path, per_device_train_batch_size=9, max_steps=1)
    seen = []
    made[0].get_output_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    trainer.train()
    assert [shape[:-1].numel() for shape in seen] == [sum(map(len, rows.answers))]


def test_the_head_gives_what_all_logits_hold(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    inputs = {"input_ids": torch.tensor([[1, 9, 8, 7], [1, 5, 6, 0]]), "attention_mask": torch.ones(2, 4).long()}
    inputs["attention_mask"][1, 3] = 0
    wanted = torch.tensor([[False, True, False, True], [True, False, True, False]])
    with torch.inference_mode():
        right = model(**inputs).logits[wanted]
        head = AnswerHead(model)
        torch.testing.assert_close(head.logits(model, inputs, wanted), right)
        assert model(**inputs).logits.shape == (2, 4, 200)  # as before where nothing is chosen


def test_small_batches_that_are_accumulated_are_a_large_one(tuned, encode, tokens, tmp_path):
    """Batch 8 x 1 and 4 x 2, answers of unlike lengths: the same weights after two passes."""
    rows = encode([*questions(8), *titles(8)])
    weights = []
    for size, steps in ((8, 1), (4, 2)):
        more = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps, "learning_rate": 3e-3}
        trainer = ours(tuned(), rows, tokens, tmp_path, num_train_epochs=2, **more)
        trainer.train()
        assert trainer.state.global_step == 4
        weights.append({n: weight.detach() for n, weight in trainer.model.named_parameters() if weight.requires_grad})
    before, moved = {n: weight.detach() for n, weight in tuned()[0].named_parameters()}, 0.0
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=1e-5)
        moved = max(moved, float((weight - before[name]).abs().max()))
    assert moved > 1e-3
