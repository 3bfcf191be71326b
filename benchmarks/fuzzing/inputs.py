"""Valid inputs for the fuzz targets: a small base, a scene, and one file of every kind that the package reads."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from breakascene.data.scene import make_scene, save_scene
from breakascene.exporting import archive
from breakascene.generation.generate import generate, save_image
from breakascene.models.concepts import Concepts
from breakascene.models.loading import load_base
from breakascene.paths import TOYBOX
from breakascene.segmentation.small_sam import build_sam
from breakascene.training.loop import run_extraction
from breakascene.training.settings import Settings, preset

SIDE = 96  # pixels of the photo
SAM = {"image_size": 64, "patch": 8, "width": 32, "depth": 1, "heads": 2, "prompt_width": 32}


def settings(base) -> Settings:
    """Settings of one step in each phase."""
    return preset("light", base, steps=(1, 2), train_batch_size=1, num_prior_images=1, composition_prob=0.0, rank=2)


def scene():
    """A disc and a square on a graded background."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = np.stack([120 + 0 * x, 150 + x // 4, 100 + y // 4], axis=-1)
    disc, square = (x - 28) ** 2 + (y - 54) ** 2 < 20**2, (abs(x - 70) < 16) & (abs(y - 48) < 16)
    pixels[disc], pixels[square] = (220, 30, 40), (30, 40, 220)
    return make_scene(Image.fromarray(pixels.astype(np.uint8)), [disc, square], ["ball", "mug"], background=True)


def make_inputs(folder: Path) -> None:
    """Write the inputs to a folder: base, scene, run, run.zip, a checkpoint, LoRA files and others."""
    torch.manual_seed(0)
    save_base(folder / "base")
    base, photo = load_base(folder / "base", "cpu"), scene()
    save_scene(photo, folder / "scene")
    for name, source in {"photo.png": "img.png", "ball.png": "mask0.png", "mug.png": "mask1.png"}.items():
        shutil.copy(folder / "scene" / source, folder / name)
    labels = sum((index + 1) * mask.astype(np.uint8) for index, mask in enumerate(photo.masks()[:2]))
    Image.fromarray(labels).save(folder / "labels.png")
    run_extraction(photo, base, settings(base), folder / "run")
    archive.pack(folder / "run", folder / "run.zip")
    calls = iter(range(10))
    run_extraction(photo, base, settings(base), folder / "stopped", stop=lambda: next(calls) >= 2)
    image = next(generate(base, Concepts.load(folder / "run"), ["a photo of <asset0>"], num_inference_steps=1))
    save_image(image, folder).rename(folder / "generated.png")
    _save_loras(base, folder)
    (folder / "prompts.txt").write_text("a photo of <asset0>\n")
    sam = build_sam(SAM)
    (folder / "sam").mkdir()
    (folder / "sam" / "config.json").write_text(json.dumps(SAM))
    save_file({name: value.contiguous() for name, value in sam.state_dict().items()}, folder / "sam/model.safetensors")
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 768), "other": torch.zeros(3)}, folder / "sam.pth")
    shutil.copytree(TOYBOX / "judge", folder / "clip")
    for path in (TOYBOX / "tokenizer").iterdir():
        shutil.copy(path, folder / "clip")
    (folder / "clip" / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": 64})
    )


def save_base(folder: Path) -> None:
    """The toybox's architecture with few channels and random weights."""
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(TOYBOX / part, folder / part)
    shutil.copy(TOYBOX / "model_index.json", folder)
    unet = UNet2DConditionModel.load_config(TOYBOX / "unet")
    small = {"block_out_channels": (8, 16, 16), "cross_attention_dim": 32, "norm_num_groups": 4, "sample_size": 8}
    UNet2DConditionModel.from_config({**unet, **small}).save_pretrained(folder / "unet")
    vae = AutoencoderKL.load_config(TOYBOX / "vae")
    small = {"block_out_channels": (4, 4, 4, 4, 4), "sample_size": 128}
    AutoencoderKL.from_config({**vae, **small}).save_pretrained(folder / "vae")
    text = CLIPTextConfig.from_pretrained(TOYBOX / "text_encoder").to_dict()
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "dtype": "float32"}
    CLIPTextModel(CLIPTextConfig(**{**text, **small})).save_pretrained(folder / "text_encoder")


def _save_loras(base, folder: Path) -> None:
    """One LoRA file in kohya's format and one in diffusers' with an embedding, and an embedding by itself."""
    unet = base.unet.state_dict()
    layers = [
        name.removesuffix(".weight")
        for name in unet
        if "attn" in name and name.endswith(("to_q.weight", "to_k.weight"))
    ]
    kohya, diffusers = {}, {}
    for layer in layers[:4]:
        rows, columns = unet[f"{layer}.weight"].shape
        a, b = torch.randn(2, columns) / 10, torch.randn(rows, 2) / 10
        prefix = f"lora_unet_{layer.replace('.', '_')}"
        kohya |= {f"{prefix}.lora_down.weight": a, f"{prefix}.lora_up.weight": b, f"{prefix}.alpha": torch.tensor(2.0)}
        diffusers |= {f"unet.{layer}.lora_A.weight": a.clone(), f"unet.{layer}.lora_B.weight": b.clone()}
    embedding = torch.randn(base.embedding_dim) / 10
    save_file(kohya, folder / "kohya.safetensors", {"ss_base_model_version": "sd_v1"})
    save_file({**diffusers, "bundle_emb.cup.string_to_param.*": embedding[None]}, folder / "diffusers.safetensors")
    save_file({"emb_params": embedding[None].clone()}, folder / "embedding.safetensors")
