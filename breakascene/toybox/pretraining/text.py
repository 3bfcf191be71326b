"""The toybox's tokenizer and text encoder configuration: CLIP's classes with a small vocabulary."""

import functools
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTokenizer

from breakascene.paths import TOYBOX
from breakascene.toybox.vocabulary import ALL_PLACES, toy_objects

MAX_LENGTH = 32  # tokens
START, END = "<|startoftext|>", "<|endoftext|>"

# Further words that people use in prompts. The model never sees most of them, but each stays a single token.
EXTRA_WORDS = """
a an the of and with in on at by under over near behind beside between front top photo picture image painting drawing
sketch style small big large tiny huge little red orange yellow green blue purple pink brown black white grey gray
golden silver bright dark warm cold old new two three four left right one many some its his her their my your this that
is are sitting standing lying flying swimming sleeping wearing holding made wood metal glass stone plastic toy toys
thing object animal food fruit vehicle box table chair room house garden park city town road river lake sea ocean sky
sun moon stars rain morning evening winter summer spring autumn birthday party christmas background pencil watercolor
oil pixel cartoon realistic beautiful cute happy sad funny pot cup plate bowl bottle lamp clock doll ball bag hat shoe
figure figurine creature cat dog bird fish flower tree person man woman boy girl colourful colorful striped spotted
""".split()


def make_tokenizer() -> CLIPTokenizer:
    """Build a CLIP tokenizer with one token for each word of the vocabulary; other words become single letters."""
    phrases = [toy.name for toy in toy_objects()] + list(ALL_PLACES) + EXTRA_WORDS
    words = sorted({word for phrase in phrases for word in re.findall(r"[a-z]+", phrase)})
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.train_from_iterator(words, trainers.BpeTrainer(min_frequency=1, end_of_word_suffix="</w>", show_progress=False))
    with tempfile.TemporaryDirectory() as folder:
        bpe.model.save(folder)
        merges = [tuple(line.split()) for line in (Path(folder) / "merges.txt").read_text().splitlines()[1:]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges] + [START, END]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges, model_max_length=MAX_LENGTH)


@functools.cache
def tokenizer() -> CLIPTokenizer:
    """Return the toybox's tokenizer from assets/toybox; build and save it there if it is missing."""
    folder = TOYBOX / "tokenizer"
    if not folder.is_dir():
        make_tokenizer().save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def text_config(width: int, layers: int) -> CLIPTextConfig:
    """Return the configuration of a CLIP text encoder for the toybox's tokenizer."""
    vocabulary = tokenizer()
    return CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=MAX_LENGTH,
        projection_dim=width,
        bos_token_id=vocabulary.bos_token_id,
        eos_token_id=vocabulary.eos_token_id,
        pad_token_id=vocabulary.pad_token_id,
    )


def tokenize(texts: Sequence[str], device: torch.device | str | None = None) -> torch.Tensor:
    """Return token ids of shape (B, 32), padded as in Stable Diffusion."""
    batch = tokenizer()(list(texts), padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
    return batch.input_ids.to(device)
