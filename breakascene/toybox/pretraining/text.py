"""The toybox's tokenizer and text encoders: CLIP's own classes over a small vocabulary."""

import functools
import re
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTokenizer

from breakascene.paths import TOYBOX
from breakascene.toybox.vocabulary import EVERYWHERE, things

LENGTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"

# Words that people write around the world's own: the model never sees most of them, but one word stays one token.
AROUND = """
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
    """A CLIP tokenizer in which every word of the world is one token and any other is spelled in letters."""
    sentences = [thing.name for thing in things()] + list(EVERYWHERE) + AROUND
    words = sorted({word for sentence in sentences for word in re.findall(r"[a-z]+", sentence)})
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.train_from_iterator(words, trainers.BpeTrainer(min_frequency=1, end_of_word_suffix="</w>", show_progress=False))
    with tempfile.TemporaryDirectory() as folder:
        bpe.model.save(folder)
        merges = [tuple(line.split()) for line in (Path(folder) / "merges.txt").read_text().splitlines()[1:]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges] + [START, END]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges, model_max_length=LENGTH)


@functools.cache
def tokenizer() -> CLIPTokenizer:
    """The toybox's tokenizer: the one in assets/, made there on the first call."""
    folder = TOYBOX / "tokenizer"
    if not folder.is_dir():
        make_tokenizer().save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def text_config(width: int, layers: int) -> CLIPTextConfig:
    words = tokenizer()
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=LENGTH,
        projection_dim=width,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def encode(texts, device=None):
    """Token ids (B, 32), padded as Stable Diffusion pads."""
    batch = tokenizer()(list(texts), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    return batch.input_ids.to(device)
