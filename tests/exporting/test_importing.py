"""LoRA files and embeddings of other programs: formats that are read, and files that are refused."""

import json
import pickle
import struct

import pytest
import torch
from helpers.models import assert_same_base, weights_of
from safetensors.torch import save_file

from breakascene.errors import UserError
from breakascene.exporting.importing import load_lora
from breakascene.generation.generate import generate
from breakascene.models.concepts import Concepts
from breakascene.models.lora import ExternalLora, apply_delta

ATTENTION = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
DEEP = json.dumps({"a": {"dtype": "F32", "shape": [1] * 70, "data_offsets": [0, 4]}}).encode()  # PyTorch: up to 64
TEXT = "encoder.layers.0.self_attn.q_proj"


def factors(out=4, width=4, rank=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rank, width, generator=generator), torch.randn(out, rank, generator=generator)


def write(folder, tensors, metadata=None):
    save_file({key: value.clone() for key, value in tensors.items()}, folder / "style.safetensors", metadata)
    return folder / "style.safetensors"


@pytest.mark.parametrize(
    ("down_name", "up_name", "weight"),
    [
        (f"lora_unet_{ATTENTION}.lora_down.weight", f"lora_unet_{ATTENTION}.lora_up.weight", f"unet.{LAYER}"),
        (
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_up.weight",
            f"unet.{LAYER}",
        ),
        (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight", f"unet.{LAYER}"),
        (f"unet.{LAYER}.lora.down.weight", f"unet.{LAYER}.lora.up.weight", f"unet.{LAYER}"),
        (
            f"unet.{LAYER.replace('.to_q', '.processor.to_q_lora')}.down.weight",
            f"unet.{LAYER.replace('.to_q', '.processor.to_q_lora')}.up.weight",
            f"unet.{LAYER}",
        ),
        (
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight",
            f"text_encoder.{TEXT}",
        ),
        (
            f"text_encoder.text_model.{TEXT}.lora_linear_layer.down.weight",
            f"text_encoder.text_model.{TEXT}.lora_linear_layer.up.weight",
            f"text_encoder.{TEXT}",
        ),
    ],
)
def test_formats(sd_base, tmp_path, down_name, up_name, weight):
    width = 32 if "text" in weight else 4
    down, up = factors(width, width)
    lora = load_lora(write(tmp_path, {down_name: down, up_name: up}), sd_base, 0.5)
    assert lora.delta.keys() == {f"{weight}.weight.A", f"{weight}.weight.B"} and lora.name == "style"
    before, name = weights_of(sd_base), f"{weight}.weight"
    with apply_delta(sd_base, lora.delta):
        torch.testing.assert_close(weights_of(sd_base)[name], before[name] + 0.5 * up @ down)
    assert_same_base(sd_base, before)


def test_alpha_convolutions_and_differences(sd_base, tmp_path):
    prefix = "lora_unet_down_blocks_1_resnets_0_"
    down, up = torch.randn(2, 4, 3, 3), torch.randn(8, 2, 1, 1)
    tensors = {
        f"{prefix}conv1.lora_down.weight": down.half(),
        f"{prefix}conv1.lora_up.weight": up.half(),
        f"{prefix}conv1.alpha": torch.tensor(1.0),
        f"{prefix}conv1.diff_b": torch.ones(8),
        f"{prefix}norm1.diff": torch.full((4,), 2.0),
    }
    lora, before = load_lora(write(tmp_path, tensors), sd_base), weights_of(sd_base)
    with apply_delta(sd_base, lora.delta):
        now, name = weights_of(sd_base), "unet.down_blocks.1.resnets.0."
        expected = before[f"{name}conv1.weight"] + torch.einsum("or,rikl->oikl", up[..., 0, 0], down) / 2
        torch.testing.assert_close(now[f"{name}conv1.weight"], expected, atol=1e-2, rtol=1e-2)
        assert torch.equal(now[f"{name}conv1.bias"], before[f"{name}conv1.bias"] + 1)
        assert torch.equal(now[f"{name}norm1.weight"], before[f"{name}norm1.weight"] + 2)


def test_refused_loras(sd_base, sd2_base, sdxl_base, tmp_path):
    down, up = factors()
    good = {f"lora_unet_{ATTENTION}.lora_down.weight": down, f"lora_unet_{ATTENTION}.lora_up.weight": up}

    def refused(tensors, message, base=sd_base, metadata=None):
        with pytest.raises(UserError, match=message) as caught:
            load_lora(write(tmp_path, tensors, metadata), base)
        assert "\n" not in str(caught.value)

    refused(
        {"lora_unet_nowhere.lora_down.weight": down, **good}, "no layer lora_unet_nowhere: use a LoRA for this kind"
    )
    refused(
        {"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": down},
        "made for Stable Diffusion XL.*no layer lora_te2",
        metadata={"ss_base_model_version": "sdxl_base_v1-0"},
    )
    refused({key: value[:, :1].contiguous() for key, value in good.items()}, "another size of unet")
    refused({f"lora_unet_{ATTENTION}.lora_down.weight": down}, "incomplete at unet")
    refused({f"lora_unet_{ATTENTION}.alpha": torch.tensor(1.0)}, "incomplete at unet")
    refused({**good, f"lora_unet_{ATTENTION}.alpha": torch.ones(3)}, "incomplete at unet")
    refused({**good, f"lora_unet_{ATTENTION}.lora_up.weight": torch.tensor(1.0)}, "incomplete at unet")
    refused({**good, f"unet.{LAYER}.lora_A.weight": down}, "two values for")
    refused({key: value / 0 for key, value in good.items()}, "not finite")
    refused({f"lora_unet_{ATTENTION}.hada_w1_a": down}, "is a LoHa, which is not supported")
    refused({f"lora_unet_{ATTENTION}.dora_scale": down, **good}, "is a DoRA")
    refused({"model.diffusion_model.input_blocks.0.0.weight": down}, "is not a LoRA")
    refused({}, "has no LoRA in it")
    refused({f"lora_unet_{ATTENTION}.diff_b": torch.ones(4)}, "no unet.*to_q.bias")

    for name, content, message in (
        ("old.pt", pickle.dumps(good), "is a pickle.*convert it"),
        ("text.safetensors", b"dear", "is not a .safetensors file or is damaged"),
        ("deep.safetensors", struct.pack("<Q", len(DEEP)) + DEEP + bytes(4), "is damaged"),
        ("cut.safetensors", write(tmp_path, good).read_bytes()[:-8], "is damaged"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            load_lora(tmp_path / name, sd_base)
    with pytest.raises(UserError, match="is not an exported folder"):
        load_lora(tmp_path, sd_base)
    with pytest.raises(UserError, match="There is no file"):
        load_lora(tmp_path / "nowhere.safetensors", sd_base)


def test_refused_embeddings(sd_base, sdxl_base, tmp_path):
    def load(base, **embedding):
        layer = {"lora_unet_conv_in.diff": torch.zeros(base.weight_shapes["unet.conv_in.weight"])}
        bundle = {f"bundle_emb.style.{key}": value for key, value in embedding.items()}
        return load_lora(write(tmp_path, {**layer, **bundle}), base)

    assert torch.equal(load(sd_base, emb_params=torch.ones(1, 32)).embeddings["style"], torch.ones(32))
    for base, tensors, message in (
        (sd_base, {"emb_params": torch.ones(1, 48)}, "does not fit"),
        (sd_base, {"emb_params": torch.ones(3, 32)}, "of one vector"),
        (sd_base, {"clip_l": torch.ones(1, 32), "clip_g": torch.ones(1, 48)}, "is not an embedding for"),
        (sdxl_base, {"emb_params": torch.ones(1, 32)}, "is not an embedding for"),
        (sdxl_base, {"clip_l": torch.ones(1, 48), "clip_g": torch.ones(1, 32)}, "does not fit"),
    ):
        with pytest.raises(UserError, match=message):
            load(base, **tensors)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x>", "<x>", "x" * 81])
def test_embeddings_need_names_that_prompts_can_refer_to(sd_base, tmp_path, name):
    layer = {"lora_unet_conv_in.diff": torch.zeros(sd_base.weight_shapes["unet.conv_in.weight"])}
    with pytest.raises(UserError, match="no prompt can refer to: rename it"):
        load_lora(write(tmp_path, {**layer, f"bundle_emb.{name}.x": torch.ones(1, 32)}), sd_base)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_only_floating_point_factors_are_read(sd_base, tmp_path, dtype):
    down, up = factors()
    good = {f"lora_unet_{ATTENTION}.lora_up.weight": up, f"lora_unet_{ATTENTION}.alpha": torch.tensor(2)}
    assert load_lora(write(tmp_path, {**good, f"lora_unet_{ATTENTION}.lora_down.weight": down}), sd_base).delta
    with pytest.raises(UserError, match="not floating-point numbers"):
        load_lora(write(tmp_path, {**good, f"lora_unet_{ATTENTION}.lora_down.weight": down.to(dtype)}), sd_base)


def test_handles_that_clash_are_refused(tiny_base):
    def lora(name):
        return ExternalLora("style", 1.0, {}, {name: torch.ones(tiny_base.embedding_dim)})

    concepts = Concepts(
        ("<asset0>",), ("mug",), "tiny", tiny_base.fingerprint, {}, 1, (), torch.ones(1, tiny_base.embedding_dim), {}
    )
    for loras, message in (
        ([lora("asset0")], "the handle <asset0>, which the run has too"),
        ([lora("mug")], "the handle <mug>, which the run has too"),
        ([lora("cup"), lora("cup")], "Two LoRAs bring the handle <cup>"),
        ([lora("|endoftext|")], r"already has a token <\|endoftext\|>"),
    ):
        with pytest.raises(UserError, match=message):
            generate(tiny_base, concepts, "a photo of <asset0>", loras=loras)
