"""Bases of the real architectures with random weights, built once per session, and a scene of two objects."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from helpers.models import save_base
from helpers.runs import with_few_prior_images
from PIL import Image

from breakascene.data.scene import Scene, make_scene
from breakascene.models.base import Base
from breakascene.models.loading import load_base
from breakascene.training.settings import PRESETS

# First, so that the workers finish together: .ci/run hands out whole files in this order.
SLOWEST = ("test_browser", "test_kill", "test_toybox.py")
# Files that start processes by helpers/processes.py go to one worker, which imports the package for all of them.
WITH_PROCESSES = ("test_browser_errors.py", "test_kill.py", "test_kills.py", "test_processes.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.path.name.startswith(SLOWEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each worker whole files, as --dist loadfile does, and those of WITH_PROCESSES to the same one."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = super()._split_scope(nodeid)
            return "processes" if path.endswith(WITH_PROCESSES) else path

    return Files(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish():
    """Exclude imported objects from garbage collection, with which every run starts."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """One cache folder for all workers, so that prior images are made once, and a library apart from the user's."""
    base_temp = tmp_path_factory.getbasetemp()
    folder = (base_temp.parent if "PYTEST_XDIST_WORKER" in os.environ else base_temp) / "cache"
    folder.mkdir(exist_ok=True)
    os.environ["BREAKASCENE_CACHE"] = str(folder)
    os.environ["BREAKASCENE_LIBRARY"] = str(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The toybox's architecture at half its size: 128 px, latents 16 × 16, v_prediction, zero terminal SNR."""
    return save_base(
        tmp_path_factory.mktemp("tiny"),
        length=24,
        latent=16,
        vae=4,
        family="toybox",
        scheduler={"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        unet={
            "block_out_channels": (16, 24, 32),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            "attention_head_dim": 4,
        },
    )


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory) -> Path:
    """Stable Diffusion 1's architecture: four levels, epsilon; latents 32 × 32, and its VAE downsamples only twice."""
    return save_base(
        tmp_path_factory.mktemp("sd"),
        length=77,
        latent=32,
        vae=3,
        scheduler={"prediction_type": "epsilon"},
        unet={
            "block_out_channels": (4, 8, 8, 8),
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "attention_head_dim": 2,
        },
    )


@pytest.fixture(scope="session")
def sd2_folder(tmp_path_factory) -> Path:
    """Stable Diffusion 2's architecture: OpenCLIP's text encoder, linear projections, v_prediction."""
    return save_base(
        tmp_path_factory.mktemp("sd2"),
        length=77,
        latent=32,
        vae=3,
        scheduler={"prediction_type": "v_prediction"},
        text={"hidden_act": "gelu"},
        pad="!",
        unet={
            "block_out_channels": (4, 8, 8, 8),
            "layers_per_block": 2,
            "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
            "attention_head_dim": (1, 2, 2, 2),
            "use_linear_projection": True,
        },
    )


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory) -> Path:
    """SDXL's architecture: two text encoders, cross-attention from half the resolution down, added conditions."""
    return save_base(
        tmp_path_factory.mktemp("sdxl"),
        length=77,
        latent=32,
        vae=3,
        scheduler={"prediction_type": "epsilon"},
        text={"eos_token_id": 2},  # as in its published configurations
        text_2={"eos_token_id": 2, "hidden_size": 48, "hidden_act": "gelu", "projection_dim": 40},
        unet={
            "block_out_channels": (4, 8, 8),
            "layers_per_block": 2,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (1, 2, 2),
            "use_linear_projection": True,
            "cross_attention_dim": 32 + 48,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 40 + 6 * 8,
        },
    )


@pytest.fixture(scope="session")
def tiny_base(tiny_folder) -> Base:
    return load_base(tiny_folder, "cpu")


@pytest.fixture(scope="session")
def sd_base(sd_folder) -> Base:
    return load_base(sd_folder, "cpu")


@pytest.fixture(scope="session")
def sd2_base(sd2_folder) -> Base:
    return load_base(sd2_folder, "cpu")


@pytest.fixture(scope="session")
def sdxl_base(sdxl_folder) -> Base:
    return load_base(sdxl_folder, "cpu")


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A red disc on the left and a blue square on the right of a graded background, 160 × 160."""
    y, x = np.mgrid[:160, :160]
    pixels = np.stack([120 + 0 * x, 150 + x // 4, 100 + y // 4], axis=-1)
    disc, square = (x - 45) ** 2 + (y - 90) ** 2 < 30**2, (abs(x - 115) < 25) & (abs(y - 80) < 25)
    pixels[disc], pixels[square] = (220, 30, 40), (30, 40, 220)
    return make_scene(Image.fromarray(pixels.astype(np.uint8)), [disc, square], ["ball", "mug"], background=True)


@pytest.fixture(scope="module")
def studio_data(tmp_path_factory) -> Path:
    """The data folder of the studio at `address`."""
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module", autouse=True)
def few_images(request):
    """Where a run is only a means, train on few compositions and prior images, which cost half a minute otherwise."""
    folder = request.path.parent.name
    with pytest.MonkeyPatch.context() as patch:
        if folder in ("benchmarks", "pilot", "studio"):
            patch.setattr("breakascene.training.augment.NUM_COMPOSITIONS", 4)
        if folder in ("pilot", "studio"):
            for key, values in with_few_prior_images().items():
                patch.setitem(PRESETS, key, values)
        yield


@pytest.fixture(scope="module")
def short_comparisons():
    """After an extraction, compare one rough image of each object; test_browser_verdict.py has the whole comparison."""
    from breakascene.evaluation import verdict

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdict, "IMAGES", 1)
        patch.setattr(verdict, "NUM_INFERENCE_STEPS", 2)
        yield


@pytest.fixture(scope="module")
def address(studio_data, short_comparisons):
    """The address of a studio that serves the tests of one module."""
    from helpers.studio import running_studio

    with running_studio(studio_data) as address:
        yield address


@pytest.fixture(scope="module")  # while it is open, no other event loop can run
def browser():
    from helpers.browser import CHROMIUM, open_browser, sync_api

    if not Path(CHROMIUM).exists():
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = open_browser(playwright)
        yield browser
        browser.close()
