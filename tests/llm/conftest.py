"""An oracle for log-probabilities, and engines on the tiny model."""

import pytest
import torch
from hypothesis import settings
from tokenizers import decoders
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from llmrec.llm.transformers import TransformersConfig, TransformersEngine

settings.register_profile("llm", parent=settings.get_profile("tests"), max_examples=25)
settings.load_profile("llm")


class NaiveModel:
    """Prompt and answer as one text, one forward pass for each pair, all logits, float64."""

    def __init__(self, folder):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def logprob(self, prompt, answer, *, special=True):
        before = self.tokenizer(prompt, add_special_tokens=special).input_ids
        ids = self.tokenizer(prompt + answer, add_special_tokens=special).input_ids
        assert ids[: len(before)] == before, "a token spans prompt and answer: choose other texts"
        logits = self.model(torch.tensor([ids])).logits[0]
        table = logits[len(before) - 1 :].double().log_softmax(-1)
        return sum(float(table[place, token]) for place, token in enumerate(ids[len(before) :]))

    @torch.inference_mode()
    def next_token(self, prompt):
        """Probabilities of the token after ``prompt``, float64 (vocabulary,)."""
        ids = self.tokenizer(prompt).input_ids
        return self.model(torch.tensor([ids])).logits[0, -1].double().softmax(-1)

    @torch.inference_mode()
    def greedy(self, prompt, max_tokens):
        ids = torch.tensor([self.tokenizer(prompt).input_ids])
        new = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False, pad_token_id=0
        )
        return self.tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.fixture(scope="session")
def naive_model():
    """The oracle's class: call it with a model folder."""
    return NaiveModel


@pytest.fixture(scope="session")
def naive(tiny_model):
    """The oracle on the tiny model."""
    return NaiveModel(tiny_model)


@pytest.fixture(scope="session")
def writer_model(tiny_model, tmp_path_factory):
    """The tiny model with a head of its own: tied to the embeddings it would repeat the last letter for ever."""
    folder = tmp_path_factory.mktemp("models") / "writer"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.backend_tokenizer.decoder = decoders.Fuse()
    tokenizer.save_pretrained(folder)
    config = AutoConfig.from_pretrained(tiny_model)
    config.tie_word_embeddings, config.initializer_range, config.vocab_size = False, 0.3, len(tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    model.lm_head.weight.data[:4] = 0  # special tokens, the end among them, are never the most probable ones
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_engine():
    """A function that returns a transformers engine on the CPU."""

    def make(folder, **settings):
        return TransformersEngine(TransformersConfig(model=str(folder), device="cpu", **settings))

    return make


@pytest.fixture(scope="session")
def tiny_engine(tiny_model, make_engine):
    """The transformers engine on the tiny model."""
    return make_engine(tiny_model)


@pytest.fixture(scope="session")
def film_titles(data_folder):
    """The titles of MovieLens 1M."""
    lines = (data_folder / "movielens-1m" / "movies.dat").read_text(encoding="latin-1").splitlines()
    return [line.split("::")[1] for line in lines]
