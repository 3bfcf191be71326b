"""The embeddings at which the handles start: those of their names, or image codes."""

import dataclasses

import numpy as np
import torch
from PIL import Image

from breakascene.data.scene import cutout, make_scene
from breakascene.models.handles import initial_embeddings
from breakascene.models.loading import load_base
from breakascene.toybox.pretraining.world import render_scene
from breakascene.training.loop import initial_handle_embeddings
from breakascene.training.settings import preset


def test_handles_start_at_their_names_or_at_their_image_codes(tiny_base, scene):
    toybox, with_background = load_base("toybox", "cpu"), dataclasses.replace(scene, background=True)
    from_names, from_images = (preset("light", toybox, init_from_image=value) for value in (False, True))
    expected = initial_embeddings(toybox, with_background.names)
    assert torch.equal(initial_handle_embeddings(with_background, toybox, from_names), expected)
    embeddings = initial_handle_embeddings(with_background, toybox, from_images)
    codes = toybox.image_codes.encode([cutout(scene, index) for index in range(2)], toybox.vae)
    assert torch.equal(embeddings[:2], codes)
    assert torch.equal(embeddings[2], expected[2])  # the background has no cut-out
    # On a base without image codes the handles start at the names.
    assert torch.equal(
        initial_handle_embeddings(scene, tiny_base, from_images), initial_embeddings(tiny_base, scene.names)
    )


def test_a_known_object_starts_near_the_embedding_of_its_name(tiny_base):
    toybox = load_base("toybox", "cpu")
    names = ("apple", "whale")
    rendered = render_scene(np.random.default_rng(4), 256, names, "on the grass", fixed_layout=True)
    known = make_scene(Image.fromarray(rendered.pixels), list(rendered.masks), list(names))
    embeddings = initial_handle_embeddings(known, toybox, preset("light", toybox))
    similarity = torch.cosine_similarity(embeddings[:, None], initial_embeddings(toybox, names)[None], dim=-1)
    assert (similarity.diagonal() > 0.5).all() and similarity[0, 1] < 0.3 and similarity[1, 0] < 0.3
