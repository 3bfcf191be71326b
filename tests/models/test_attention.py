import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch.nn import functional

from breakascene.models.attention import AttentionStore, select_layers, token_maps
from breakascene.rendering.overlay import heat_map


@pytest.mark.parametrize(("latent", "side", "down", "up"), [(64, 16, 2, 1), (96, 24, 2, 1), (32, 16, 1, 2)])
def test_layers_of_stable_diffusion(latent, side, down, up):
    """At 512 px (64) the layers with 16 × 16 queries; at 768 px (96) the same ones, with 24 × 24, the nearest."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=latent, cross_attention_dim=8, block_out_channels=(32, 32, 32, 32))
    found, layers = select_layers(unet)
    assert found == side
    assert sorted(layers) == [
        *(f"down_blocks.{down}.attentions.{i}.transformer_blocks.0.attn2" for i in range(2)),
        *(f"up_blocks.{up}.attentions.{i}.transformer_blocks.0.attn2" for i in range(3)),
    ]


def test_selected_layers_have_256_queries(tiny_base, sd_base, sd2_base, sdxl_base):
    for base, count in ((tiny_base, 3), (sd_base, 5), (sd2_base, 5), (sdxl_base, 5)):
        assert len(base.attention_layers) == count and base.attention_size == 16
        noisy_latents = torch.randn(2, 4, base.latent_size, base.latent_size)
        with AttentionStore(base.unet, base.attention_layers) as store:
            base.predict(noisy_latents, torch.tensor([5, 5]), ["a dog", "a cat"])
        assert all(m.shape == (2, 256, base.tokenizer.model_max_length) for m in store.maps.values())


def test_storing_changes_neither_output_nor_model(tiny_base):
    noisy_latents, timesteps = torch.randn(2, 4, 16, 16), torch.tensor([5, 900])
    processors = dict(tiny_base.unet.attn_processors)
    plain = tiny_base.predict(noisy_latents, timesteps, ["a dog", "a cat"])
    with AttentionStore(tiny_base.unet, tiny_base.attention_layers, samples=1) as store:
        torch.testing.assert_close(tiny_base.predict(noisy_latents, timesteps, ["a dog", "a cat"]), plain)
    assert tiny_base.unet.attn_processors == processors
    assert store.mean().shape == (1, 256, 24)


def test_attention_is_fused_outside_the_selected_layers(sd2_base, monkeypatch):
    fused, plain = [], []
    whole, scores = functional.scaled_dot_product_attention, Attention.get_attention_scores
    monkeypatch.setattr(
        functional, "scaled_dot_product_attention", lambda *args, **more: (fused.append(1), whole(*args, **more))[1]
    )
    monkeypatch.setattr(
        Attention, "get_attention_scores", lambda self, *args: (plain.append(self), scores(self, *args))[1]
    )
    with torch.no_grad(), AttentionStore(sd2_base.unet, sd2_base.attention_layers):
        sd2_base.predict(torch.randn(1, 4, 32, 32), torch.tensor([5]), ["a dog"])
    layers = sum(isinstance(module, Attention) for module in sd2_base.unet.modules())
    assert len(fused) == layers - 5 + sd2_base.text_encoder.config.num_hidden_layers
    assert plain == [sd2_base.unet.get_submodule(name) for name in sd2_base.attention_layers] and len(plain) == 5
    fused.clear()
    sd2_base.encode(np.zeros((1, 128, 128, 3), np.uint8))
    assert fused == [1] and len(plain) == 5


def test_maps_are_the_softmax_of_the_scores(tiny_base):
    name = tiny_base.attention_layers[0]
    layer, captured = tiny_base.unet.get_submodule(name), {}
    hooks = [
        getattr(layer, part).register_forward_hook(lambda m, i, out, part=part: captured.setdefault(part, out))
        for part in ("to_q", "to_k")
    ]
    with torch.no_grad(), AttentionStore(tiny_base.unet, [name]) as store:
        tiny_base.predict(torch.randn(1, 4, 16, 16), torch.tensor([5]), ["a dog"])
    for hook in hooks:
        hook.remove()
    query, key = (captured[part][0].double().numpy() for part in ("to_q", "to_k"))  # (256, C), (24, C)
    width = query.shape[1] // layer.heads
    expected = 0
    for h in range(layer.heads):
        part = slice(h * width, (h + 1) * width)
        scores = np.exp(query[:, part] @ key[:, part].T / np.sqrt(width))
        expected = expected + scores / scores.sum(1, keepdims=True) / layer.heads
    np.testing.assert_allclose(store.maps[name][0], expected, atol=1e-6)


def test_repeated_token_gives_the_mean_map():
    attention = torch.arange(16 * 5, dtype=torch.float32).view(16, 5)
    maps = token_maps(attention, [[1], [2, 4]])
    assert maps.shape == (2, 4, 4)
    assert torch.equal(maps[0].flatten(), attention[:, 1])
    assert torch.equal(maps[1].flatten(), attention[:, 3])


def test_heat_map_is_bright_where_the_attention_is():
    attention = np.zeros((16, 16), np.float32)
    attention[:, :8] = 1
    image = np.asarray(heat_map(np.full((40, 60, 3), 100, np.uint8), attention))
    assert image.shape == (40, 60, 3)
    assert image[:, :20].mean() > 150 > 60 > image[:, 40:].mean()
