"""Exports to other programs, with diffusers' loaders and the programs' key maps as oracles."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from helpers.files import listing
from helpers.models import assert_same_base, weights_of
from helpers.original_layout import unet_name as reference_ldm_name
from helpers.runs import short
from peft.tuners.lora import LoraLayer
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from breakascene.data.handle_names import handle_of
from breakascene.errors import UserError
from breakascene.exporting.embeddings import token_names
from breakascene.exporting.export import TARGETS, example_prompts, export
from breakascene.exporting.importing import load_lora
from breakascene.exporting.keys import layers, ldm_layer
from breakascene.generation.generate import generate
from breakascene.models.loading import load_base
from breakascene.models.lora import apply_delta
from breakascene.paths import TOYBOX
from breakascene.training.loop import run_extraction

KINDS = ("toybox", "sd", "sd2", "sdxl")
PRESETS = ("light", "paper")  # LoRA, as that of "quick", and all weights
PROMPT = "a photo of <asset0> and <asset1>"


@pytest.fixture(scope="module")
def toybox_base():
    return load_base("toybox", "cpu")


@pytest.fixture(scope="module")
def concepts_of(scene, request):
    """Concepts of a short run, cached by kind of base and preset; rates are high so that the weights matter."""
    cache = {}

    def concepts(kind, preset="light"):
        if (kind, preset) not in cache:
            base = request.getfixturevalue(f"{kind}_base")
            rate = 2e-3 if preset == "paper" else 2e-2
            settings = short(base, preset, steps=(1, 3), prior_loss_weight=0.0, weight_lr=rate, init_from_image=False)
            cache[kind, preset] = run_extraction(scene, base, settings)
        return cache[kind, preset]

    return concepts


@pytest.fixture
def base(request):
    return request.getfixturevalue(f"{request.param}_base")


def folder_of(base):
    return str(TOYBOX) if base.name == "toybox" else base.name


def ours(base, concepts, prompt=PROMPT):
    with torch.no_grad():
        return next(generate(base, concepts, [prompt], num_inference_steps=3, seed=4)).image


def theirs(base, pipe, prompt):
    """The image of a plain pipeline, with the sampler of ours."""
    pipe.scheduler = base.pipeline().scheduler
    pipe.set_progress_bar_config(disable=True)
    if base.family == "toybox":  # its tokenizer is saved without a limit
        pipe.tokenizer.model_max_length = base.tokenizer.model_max_length
    return pipe(
        prompt,
        num_inference_steps=3,
        guidance_scale=base.default_guidance_scale,
        width=base.image_size,
        height=base.image_size,
        generator=torch.Generator().manual_seed(4),
    ).images[0]


def psnr(one, two):
    error = np.square(np.asarray(one, float) - np.asarray(two, float)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def lora_layers(pipe):
    modules = [getattr(pipe, name, None) for name in ("unet", "text_encoder", "text_encoder_2")]
    return sum(isinstance(layer, LoraLayer) for module in modules if module is not None for layer in module.modules())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_readme_code_generates_our_image_with_diffusers(kind, preset, concepts_of, request, tmp_path, monkeypatch):
    base, concepts = request.getfixturevalue(f"{kind}_base"), concepts_of(kind, preset)
    before = weights_of(base)
    exported = export(concepts, base, "diffusers", tmp_path / "out", num_inference_steps=3, seed=4)
    assert_same_base(base, before)
    readme = (tmp_path / "out" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", readme, re.S)[1].replace("'assets/toybox'", repr(str(TOYBOX)))
    monkeypatch.chdir(tmp_path / "out")
    scope = {}
    exec(code, scope)
    assert psnr(Image.open("image.png"), Image.open("images/0.png")) >= 40
    keys = [key for key in load_file(exported.lora) if key.endswith("lora_A.weight")]
    assert lora_layers(scope["pipe"]) == len(keys) and not exported.left_out
    assert all(f"| `{token}` | " in readme for token in exported.tokens.values())  # not taken for HTML
    unchanged = generate(base, replace(concepts, delta={}), example_prompts(concepts.handles)[:1],
                         num_inference_steps=3, seed=4)  # fmt: skip
    assert psnr(next(unchanged).image, Image.open("image.png")) < 35  # the weights matter


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_kohya_file_generates_our_image_with_diffusers(kind, preset, concepts_of, request, tmp_path):
    base, concepts = request.getfixturevalue(f"{kind}_base"), concepts_of(kind, preset)
    exported = export(concepts, base, "kohya", tmp_path / "out", num_inference_steps=1)
    cls = StableDiffusionXLPipeline if base.is_sdxl else StableDiffusionPipeline
    pipe = cls.from_pretrained(folder_of(base), torch_dtype=torch.float32)
    pipe.load_lora_weights(exported.lora)
    keys = [key for key in load_file(exported.lora) if key.endswith("lora_down.weight")]
    assert lora_layers(pipe) == len(keys)
    for token in exported.tokens.values():
        values = load_file(tmp_path / "out" / "embeddings" / f"{token}.safetensors")
        for (name, value), suffix in zip(values.items(), ("", "_2"), strict=False):
            if base.is_sdxl:
                suffix = {"clip_l": "", "clip_g": "_2"}[name]
            encoder, tokenizer = getattr(pipe, f"text_encoder{suffix}"), getattr(pipe, f"tokenizer{suffix}")
            pipe.load_textual_inversion(value, token=token, text_encoder=encoder, tokenizer=tokenizer)
            getattr(encoder, "text_model", encoder).eos_token_id = tokenizer.eos_token_id
    prompt = PROMPT.replace("<asset0>", exported.tokens["<asset0>"]).replace("<asset1>", exported.tokens["<asset1>"])
    if preset == "paper":
        assert all(re.search("bias|norm|position|text_projection", name) for name in exported.left_out)
        assert exported.left_out
    else:
        assert not exported.left_out
    kept = {key: value for key, value in concepts.delta.items() if key.rpartition(".")[0] not in exported.left_out}
    assert psnr(theirs(base, pipe, prompt), ours(base, replace(concepts, delta=kept))) >= 40


def apply_like_comfyui(base, tensors):
    """Add a LoRA file to the weights of a base by ComfyUI's key map and formulas; returns the keys not loaded."""
    key_map = {}
    for component, module in base.trainable_modules.items():
        for name, _ in module.named_parameters():
            path, _, kind = name.rpartition(".")
            if kind != "weight" or "token_embedding" in name:
                continue
            if component == "unet":
                key_map[f"lora_unet_{path.replace('.', '_')}"] = module, path
                key_map[f"lora_unet_{reference_ldm_name(name, base.unet)[:-7].replace('.', '_')}"] = module, path
            elif match := re.search(r"encoder\.layers\.\d+\.(self_attn|mlp)\..*", path):
                numbers = {"text_encoder": "te1" if base.is_sdxl else "te", "text_encoder_2": "te2"}
                name = f"lora_{numbers[component]}_text_model_{match[0].replace('.', '_')}"
                key_map[name] = module, path
    used = set()
    for name, (module, path) in key_map.items():
        parts = {
            suffix: f"{name}.{suffix}" for suffix in ("lora_up.weight", "lora_down.weight", "alpha", "diff", "diff_b")
        }
        found = {suffix: tensors[key].float() for suffix, key in parts.items() if key in tensors}
        used |= {parts[suffix] for suffix in found}
        weight = module.get_parameter(f"{path}.weight")
        if "lora_up.weight" in found:
            up, down = found["lora_up.weight"].flatten(1), found["lora_down.weight"].flatten(1)
            weight.data = weight.data + (up @ down).view_as(weight) * (found["alpha"] / len(down))
        if "diff" in found:
            weight.data = weight.data + found["diff"]
        if "diff_b" in found:
            bias = module.get_parameter(f"{path}.bias")
            bias.data = bias.data + found["diff_b"]
    return tensors.keys() - used


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("to", ["comfyui", "a1111"])
def test_other_programs_load_every_key(kind, to, concepts_of, request, tmp_path):
    base = request.getfixturevalue(f"{kind}_base")
    concepts = concepts_of(kind, "paper")
    exported = export(concepts, base, to, tmp_path / "out", num_inference_steps=1)
    other = load_base(request.getfixturevalue(f"{kind}_folder"), "cpu")
    dropped = apply_like_comfyui(other, load_file(exported.lora))
    assert all(key.startswith("bundle_emb.") for key in dropped) and bool(dropped) == (to == "a1111")
    with apply_delta(base, concepts.delta):
        for name, expected in weights_of(base).items():
            if name not in exported.left_out and not name.startswith("vae"):
                torch.testing.assert_close(weights_of_one(other, name), expected, atol=2e-5, rtol=1e-4)
    text = " ".join(exported.left_out)
    assert "layer_norm1.weight" in text and ("unet" in text) == (to == "a1111")
    readme = (tmp_path / "out" / "README.md").read_text()
    assert all(f"- {name}" in readme for name in exported.left_out)


def weights_of_one(base, name):
    component, _, path = name.partition(".")
    return base.trainable_modules[component].state_dict()[path]


def read_embedding(file):
    """The embedding (D,) of a textual inversion file: one tensor, or clip_l and clip_g."""
    tensors = load_file(file)
    return torch.cat([tensors[key] for key in sorted(tensors, reverse=True)], 1)[0]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_files_of_an_export(kind, concepts_of, request, tmp_path):
    base, concepts = request.getfixturevalue(f"{kind}_base"), concepts_of(kind)
    exported = export(concepts, base, "a1111", tmp_path / "out", num_inference_steps=1)
    names = token_names(concepts)
    assert names == tuple(f"{name}-{concepts.id[:4]}" for name in ("ball", "mug", "background"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        ["README.md", "images", "embeddings", f"ball-mug-{concepts.id[:4]}.safetensors"]
    )
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"a photo of {names[0]} at the beach <lora:{exported.lora.stem}:1>" in readme
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3
    with safe_open(exported.lora, "pt") as file:
        metadata, keys = file.metadata(), set(file.keys())
    version = {"sd": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}[kind]
    assert metadata["ss_base_model_version"] == version and metadata["ss_v2"] == str(kind == "sd2")
    assert metadata["ss_network_dim"] == "16" and metadata["ss_network_alpha"] == "16.0"
    assert metadata["modelspec.trigger_phrase"] == ", ".join(names) and json.loads(metadata["ss_network_args"]) == {}
    assert metadata["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    parts = ("clip_l", "clip_g") if base.is_sdxl else ("string_to_param.*",)
    assert {key for key in keys if "bundle" in key} == {f"bundle_emb.{n}.{p}" for n in names for p in parts}
    for name, embedding in zip(names, concepts.embeddings, strict=True):
        assert torch.equal(read_embedding(tmp_path / "out" / "embeddings" / f"{name}.safetensors"), embedding)


def test_convolutions_keep_their_shape(sd_base, concepts_of, tmp_path):
    exported = export(concepts_of("sd", "paper"), sd_base, "kohya", tmp_path / "out", num_inference_steps=1)
    tensors, rank = load_file(exported.lora), 16
    down, up = (tensors[f"lora_unet_down_blocks_1_resnets_0_conv1.lora_{part}.weight"] for part in ("down", "up"))
    assert down.shape == (rank, 4, 3, 3) and up.shape == (8, rank, 1, 1)
    assert all(value.item() == rank for key, value in tensors.items() if key.endswith(".alpha"))


def test_ldm_names(sd_base, sd2_base, sdxl_base):
    for base in (sd_base, sd2_base, sdxl_base):
        names = [layer for component, layer in layers(base) if component == "unet"]
        assert [f"{ldm_layer(base.unet, name)}.weight" for name in names] == [
            reference_ldm_name(f"{name}.weight", base.unet) for name in names
        ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("to", "preset"), [*((to, "light") for to in TARGETS), ("comfyui", "paper"), ("diffusers", "paper")]
)
def test_an_exported_folder_imported_again_generates_our_image(kind, to, preset, concepts_of, request, tmp_path):
    base, concepts = request.getfixturevalue(f"{kind}_base"), concepts_of(kind, preset)
    if kind == "toybox" and to in ("comfyui", "a1111"):
        with pytest.raises(UserError, match="cannot open the toybox: export to diffusers"):
            export(concepts, base, to, tmp_path / "out")
        assert listing(tmp_path) == {}
        return
    exported = export(concepts, base, to, tmp_path / "out", num_inference_steps=1)
    names, before = token_names(concepts), weights_of(base)
    assert set(load_lora(exported.lora, base).embeddings) == (set(names) if to == "a1111" else set())
    lora = load_lora(tmp_path / "out", base)
    assert set(lora.embeddings) == set(names)
    prompt = PROMPT
    for index, name in enumerate(names[:2]):
        prompt = prompt.replace(handle_of(index), f"<{name}>")
    image = next(generate(base, None, [prompt], num_inference_steps=3, seed=4, loras=[lora]))
    kept = {key: value for key, value in concepts.delta.items() if key.rpartition(".")[0] not in exported.left_out}
    assert psnr(image.image, ours(base, replace(concepts, delta=kept))) > 50
    assert image.metadata["loras"] == {"out": 1.0}
    assert_same_base(base, before)
    weak = load_lora(tmp_path / "out", base, 0.5)
    keys = [key for key in lora.delta if key.endswith((".B", ".diff"))]
    assert all(torch.allclose(weak.delta[key], lora.delta[key] / 2) for key in keys)


def test_bad_exports_leave_nothing(sd_base, sd2_base, concepts_of, tmp_path):
    concepts = concepts_of("sd")
    key = next(iter(concepts.delta))
    embeddings = concepts.embeddings.clone()
    embeddings[0, 0] = torch.nan
    for changed, base, to, message in (
        (concepts, sd_base, "fooocus", "no export to"),
        (concepts, sd2_base, "kohya", "were learned on"),
        (replace(concepts, embeddings=embeddings), sd_base, "kohya", "not finite"),
        (replace(concepts, delta={}), sd_base, "kohya", "trained no weights"),
        (replace(concepts, delta={key: concepts.delta[key]}), sd_base, "kohya", "do not fit"),
    ):
        with pytest.raises(UserError, match=message):
            export(changed, base, to, tmp_path / "out")
        assert listing(tmp_path) == {}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is not empty"):
        export(concepts, sd_base, "kohya", tmp_path / "out")
    assert listing(tmp_path).keys() == {"out", str(Path("out", "letter.txt"))}
