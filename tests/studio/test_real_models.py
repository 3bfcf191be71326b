"""SAM and the judges in a studio on another base than the toybox: local, downloaded meanwhile, or not available."""

import html
import re
import threading

import huggingface_hub
import pytest
import torch
from gradio_client import Client, handle_file
from helpers.hub import running_hub
from helpers.models import tiny_sam
from helpers.studio import running_studio
from PIL import Image

from breakascene.evaluation.judges import CLIP, LABELS
from breakascene.hub import NO_ROOM, DownloadFailed, HubFile
from breakascene.paths import SAMPLES
from breakascene.segmentation import checkpoints
from breakascene.segmentation.checkpoints import fallback_note
from breakascene.segmentation.segmenter import Segmenter
from breakascene.studio import loaded, real_models, strings
from breakascene.studio.real_models import JUDGES, SEGMENTER
from breakascene.studio.screens import evaluate, models

PHOTO = SAMPLES / "teapot-and-owl" / "img.png"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(loaded, "_loaded", {})
    monkeypatch.setattr(real_models, "_missing", {})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("BREAKASCENE_SAM", "BREAKASCENE_CLIP", "BREAKASCENE_DINO"):
        monkeypatch.delenv(name, raising=False)


def sentences(language):
    with strings.use_language(language):
        return [models.sentence(kind, model) for kind, model in real_models.missing().items()]


@pytest.fixture
def small_vit_b(monkeypatch):
    """SAM with few channels under the name of vit_b; test_segmenter.py loads a checkpoint of the true size."""
    monkeypatch.setattr(checkpoints, "MODEL_TYPES", {32: "vit_b"})
    monkeypatch.setattr(checkpoints, "sam_model_registry", {"vit_b": tiny_sam})


def test_a_checkpoint_of_meta_is_used_with_another_base(small_vit_b, tmp_path, sd2_folder, monkeypatch):
    torch.save(tiny_sam().state_dict(), tmp_path / "vit_b.pth")
    monkeypatch.setenv("BREAKASCENE_SAM", str(tmp_path / "vit_b.pth"))
    with running_studio(tmp_path / "data", base=str(sd2_folder)) as address:
        assert loaded.segmenter().image_size == 64 and SEGMENTER not in real_models.missing()
        assert not loaded.is_toybox() and loaded.base().name == str(sd2_folder)
        mask, scores = Client(address, verbose=False).predict(
            handle_file(PHOTO), [[100, 160, True]], None, api_name="/segment"
        )
        with Image.open(mask) as image:
            assert image.size == Image.open(PHOTO).size and len(scores) == 3


def test_sam_takes_over_once_it_is_downloaded(small_vit_b, tmp_path, sd2_folder, monkeypatch):
    torch.save(tiny_sam().state_dict(), tmp_path / "weights.pth")
    data = (tmp_path / "weights.pth").read_bytes()
    file = HubFile("meta/sam", "vit_b.pth", len(data), checkpoints.hub._sha256(tmp_path / "weights.pth"))
    monkeypatch.setitem(checkpoints.HUB_FILES, "vit_b", file)
    gate, photo = threading.Event(), Image.open(PHOTO).convert("RGB")
    with running_hub({"meta/sam/vit_b.pth": data}, tmp_path / "cache", gate):
        loaded.open_models(sd2_folder)
        small = loaded.segmenter()
        assert small.name == "toybox" and real_models.missing()[SEGMENTER].name == "vit_b"
        used, shares, report = [], [], real_models._report
        monkeypatch.setattr(Segmenter, "set_image", lambda self, photo: used.append((self.name, photo)))
        monkeypatch.setattr(
            real_models, "_report", lambda *values: (report(*values), shares.append(sentences("en")[0]))
        )
        monkeypatch.setattr(real_models.hub, "download_model", lambda *_: None)
        thread = loaded.start_downloads(lambda: [photo])
        assert loaded.segmenter() is small  # half of the file is there
        gate.set()
        thread.join(60)
    assert "(100%)" in next(share for share in reversed(shares) if "SAM" in share)
    assert loaded.segmenter().name == "vit_b" and used == [("vit_b", photo)]
    assert not real_models.missing() and models.describe() == ""


def test_a_failed_download_is_tried_again(small_vit_b, tmp_path, sd2_folder, monkeypatch):
    monkeypatch.setattr(real_models, "FIRST_DELAY", 0.05)
    torch.save(tiny_sam().state_dict(), tmp_path / "weights.pth")
    data = (tmp_path / "weights.pth").read_bytes()
    monkeypatch.setitem(checkpoints.HUB_FILES, "vit_b", HubFile("meta/sam", "vit_b.pth", len(data)))
    monkeypatch.setattr(real_models.hub, "download_model", lambda *_: None)
    used, files = threading.Event(), {}
    monkeypatch.setattr(Segmenter, "set_image", lambda self, photo: used.set())
    with running_hub(files, tmp_path / "cache"):
        loaded.open_models(sd2_folder)
        loaded.start_downloads(lambda: [Image.new("RGB", (8, 8))]).join(60)
        assert real_models.missing()[SEGMENTER].retried and not used.is_set()
        assert sentences("en")[0].endswith("The studio also tries the download again by itself.")
        assert sentences("ja")[0].endswith("再試行されます。")
        files["meta/sam/vit_b.pth"] = data
        assert used.wait(60)


def test_each_thing_that_goes_wrong_is_said_in_both_languages(tmp_path, sd2_folder, monkeypatch):
    loaded.open_models(sd2_folder)
    assert real_models.downloading()
    assert sentences("en")[0].startswith("SAM vit_b is being downloaded for precise masks (0%).")
    assert sentences("ja")[1].startswith(f"評価のためのモデル {LABELS[CLIP]} をダウンロードしています（0%）。")
    loaded.start_downloads(list).join(60)
    assert loaded.segmenter().name == "toybox" and not real_models.downloading()
    assert set(real_models.missing()) == {SEGMENTER, JUDGES}
    for language, because in (("en", "could not be downloaded: connect"), ("ja", "をダウンロードできなかったため")):
        assert all(because in sentence for sentence in sentences(language))

    bad = tmp_path / "bad.pth"
    bad.write_text("no weights")
    monkeypatch.setenv("BREAKASCENE_SAM", str(bad))
    loaded.open_models(sd2_folder)
    assert loaded.segmenter().name == "toybox"
    assert f"because {bad} is missing or not a complete SAM checkpoint" in sentences("en")[0]
    assert sentences("ja")[0].startswith(f"{bad} が見つからないか")
    no_room = fallback_note("vit_h", DownloadFailed(NO_ROOM, "full"))
    assert "no room for SAM vit_h (2565 MB): free some space" in no_room
    with strings.use_language("ja"):
        assert "空き容量が SAM vit_h（2565 MB）に足りない" in strings.translate(no_room)


def test_the_toybox_on_a_cpu_needs_nothing_else(tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loaded.open_models(tiny_folder)
    assert loaded.segmenter().name == "toybox" and not real_models.missing()


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"measured_by": {"identity": "DINO ViT-B/16", "prompt": "toybox"}}, ("DINO ViT-B/16", "the toybox's judge")),
        ({"eyes": ["toybox", "dino"]}, ("dino", "the toybox's judge")),  # a report of an earlier version
    ],
)
def test_the_table_names_the_model_of_each_figure(recorded, expected):
    scores = {
        **dict.fromkeys(strings.METRICS),
        "identity": 0.5,
        "prompt": 0.25,
        "confusion": None,
        "scores": [],
        **recorded,
    }
    table = html.unescape(evaluate.score_table(scores))
    for (label, model), figure in zip(
        (("likeness", expected[0]), ("match", expected[1])), ("0.50", "0.25"), strict=True
    ):
        assert re.search(rf"{label}[^<]*, by {re.escape(model)}</th><td>{figure}", table)
    with strings.use_language("ja"):
        assert "（測定：トイボックスの判定モデル）" in evaluate.score_table(scores)
