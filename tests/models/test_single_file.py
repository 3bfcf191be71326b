"""Bases given as one .safetensors file in the layout of the original code."""

import json
import shutil

import pytest
import torch
from helpers.models import weights_of
from helpers.original_layout import save_original, without_weights
from safetensors.torch import load_file, save_file

from breakascene.errors import UserError
from breakascene.models.loading import CONFIG_SOURCES, load_base

SD1 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network and an empty hub cache; returns the cache folder."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("kind", ["sd", "sd2", "sdxl"])
def test_a_file_is_the_same_base_as_its_folder(kind, tmp_path, offline, request):
    folder, base = request.getfixturevalue(f"{kind}_folder"), request.getfixturevalue(f"{kind}_base")
    without_weights(folder, tmp_path / "model")
    again = load_base(save_original(base, tmp_path / "model.safetensors"), "cpu")
    before, now = weights_of(base), weights_of(again)
    assert now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in before)
    assert (again.fingerprint, again.prediction_type) == (base.fingerprint, base.prediction_type)
    assert [e.tokenizer.pad_token for e in again.encoders] == [e.tokenizer.pad_token for e in base.encoders]
    assert not any(
        weight.requires_grad for module in again.trainable_modules.values() for weight in module.parameters()
    )


def test_float16_is_loaded_as_float32(sd_base, sd_folder, tmp_path, offline):
    without_weights(sd_folder, tmp_path / "model")
    file = save_original(sd_base, tmp_path / "model.safetensors")
    save_file({name: value.half() for name, value in load_file(file).items()}, file)
    again = load_base(file, "cpu")
    assert all(value.dtype == torch.float32 for value in weights_of(again).values() if value.is_floating_point())
    assert again.fingerprint == sd_base.fingerprint  # the fingerprint rounds to float16


def test_the_configuration_comes_from_the_hubs_cache(sd_base, sd_folder, tmp_path, offline):
    file = save_original(sd_base, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"configuration of {SD1}.*go online once, or put .* as model/"):
        load_base(file, "cpu")
    cached = offline / f"models--{SD1.replace('/', '--')}"
    without_weights(sd_folder, cached / "snapshots" / "1")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1")
    index = json.loads((cached / "snapshots" / "1" / "model_index.json").read_text())
    index |= {  # as in the hub's, whose folders for these are not fetched
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "scheduler": ["diffusers", "PNDMScheduler"],
    }
    (cached / "snapshots" / "1" / "model_index.json").write_text(json.dumps(index))
    assert load_base(file, "cpu").fingerprint == sd_base.fingerprint


@pytest.mark.parametrize("kind", ["sd", "sd2"])
def test_a_hub_id_is_the_same_base_as_its_folder(kind, offline, request):
    cached = offline / "models--someone--model"
    shutil.copytree(request.getfixturevalue(f"{kind}_folder"), cached / "snapshots" / "1")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1")
    base, again = request.getfixturevalue(f"{kind}_base"), load_base("someone/model", "cpu")
    assert (again.fingerprint, again.image_size, again.prediction_type) == (
        base.fingerprint, base.image_size, base.prediction_type,
    )  # fmt: skip


def test_sdxl_of_the_hub_comes_from_the_cache_only_if_complete(sdxl_base, sdxl_folder, offline):
    cached = offline / "models--someone--xl"
    shutil.copytree(sdxl_folder, cached / "snapshots" / "1")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1")
    assert load_base("someone/xl", "cpu").fingerprint == sdxl_base.fingerprint
    (cached / "snapshots" / "1" / "text_encoder_2" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="could not be downloaded from the hub"):
        load_base("someone/xl", "cpu")


def test_each_kind_needs_its_configuration(sd2_base, sdxl_base, tmp_path, offline):
    for base, model in ((sd2_base, "stable-diffusion-2-1"), (sdxl_base, "stable-diffusion-xl-base-1.0")):
        with pytest.raises(UserError, match=f"configuration of .*/{model}, which could not be downloaded"):
            load_base(save_original(base, tmp_path / "model.safetensors"), "cpu")


def test_invalid_files(sd_base, sd_folder, sdxl_folder, tmp_path, offline):
    def refused(name, message):
        with pytest.raises(UserError, match=message):
            load_base(tmp_path / name, "cpu")

    refused("nowhere.safetensors", "There is no file")
    for ending in (".ckpt", ".pth", ".pt", ".bin", ".CKPT"):
        (tmp_path / f"old{ending}").write_bytes(b"never read")
        refused(f"old{ending}", "is a pickle.*convert it to .safetensors")
    (tmp_path / "text.safetensors").write_text("dear")
    refused("text.safetensors", "is not a .safetensors file or is damaged")
    save_file({"lora_unet_down.alpha": torch.ones(1)}, tmp_path / "lora.safetensors")
    refused("lora.safetensors", "a LoRA or a single component is not enough")

    without_weights(sd_folder, tmp_path / "part")
    file = save_original(sd_base, tmp_path / "part.safetensors")
    whole = load_file(file)
    save_file({key: value for key, value in whole.items() if "first_stage" not in key}, file)
    refused("part.safetensors", "not a complete Stable Diffusion")
    save_file({key: value for key, value in whole.items() if "output_blocks.3" not in key}, file)
    refused("part.safetensors", "not a complete Stable Diffusion")
    save_file({key: value for key, value in whole.items() if "layers.1" not in key}, file)
    refused("part.safetensors", "not a complete Stable Diffusion")
    file.write_bytes(file.read_bytes()[:-5000])
    refused("part.safetensors", "damaged")

    without_weights(sdxl_folder, tmp_path / "other")
    save_original(sd_base, tmp_path / "other.safetensors")
    refused("other.safetensors", "does not fit its configuration")


def test_each_kind_is_identified_by_one_weight(sd_base, sd2_base, sdxl_base, tmp_path):
    for base in (sd_base, sd2_base, sdxl_base):
        names = load_file(save_original(base, tmp_path / "model.safetensors")).keys()
        assert sum(kind in names for kind in CONFIG_SOURCES) == 1
