"""What all tests share: the real data where it is, and a tiny language model made on the spot."""

import os

# Before transformers is imported: a look-up of a model that is not there must fail at once, not after a minute. Tests
# run side by side, and threads that outnumber the cores wait for each other: one each, also in processes they start.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

# How long an example takes says something of the machine's other work only.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data sets: $LLMREC_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("LLMREC_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set LLMREC_DATA to its folder")
    return folder


@pytest.fixture(scope="module")
def two_threads():
    """Both cores for the real models of a module: the next one computes with one again, to the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A folder with a randomly initialised two-layer Gemma 3 and a character tokenizer.

    Its sliding window of 8 tokens is shorter than the prompts of the tests, so that a cache which forgets the window
    shows.
    """
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=200,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.5,
    )
    Gemma3ForCausalLM(config).save_pretrained(folder)
    letters = ["\n", *map(chr, range(32, 127)), *"éüñ"]
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *letters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)
    return folder
