import json

import pytest
import torch
from helpers.models import assert_same_base, weights_of

from breakascene.data.scene import load_scene
from breakascene.errors import UserError
from breakascene.models.concepts import Concepts
from breakascene.training.loop import run_extraction
from breakascene.training.settings import preset


@pytest.fixture(scope="module")
def run(tiny_base, scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = preset("light", tiny_base, steps=(2, 2), prior_loss_weight=0.0, weight_lr=1e-2)
    return out, run_extraction(scene, tiny_base, settings, out)


def test_run_folder(run, scene, tiny_base):
    out, concepts = run
    assert sorted(p.name for p in out.iterdir()) == ["concepts.safetensors", "losses.json", "manifest.json", "scene"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["handles"] == ["<asset0>", "<asset1>", "<background>"] and manifest["id"] == concepts.id
    assert manifest["base"] == tiny_base.name and manifest["steps"] == 4
    assert len(json.loads((out / "losses.json").read_text())) == 4
    again = load_scene(out / "scene")
    assert again.background and again.names == scene.names and (again.masks() == scene.masks()).all()


def test_save_and_load_round_trip(run, tmp_path):
    out, concepts = run
    loaded = Concepts.load(out)
    assert (loaded.id, loaded.settings) == (concepts.id, concepts.settings)
    loaded.save(tmp_path / "copy")
    assert Concepts.load(tmp_path / "copy").id == concepts.id
    loaded.save(tmp_path / "copy")  # an existing run is replaced
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def test_applied_restores_the_base_bit_for_bit(run, tiny_base):
    _, concepts = run
    before, vocabulary = weights_of(tiny_base), dict(tiny_base.tokenizer.get_vocab())
    noisy_latents, timesteps = torch.randn(1, 4, 16, 16), torch.tensor([300])

    def predict(prompt):
        with torch.no_grad():
            return tiny_base.predict(noisy_latents, timesteps, [prompt])

    plain = predict("a photo of a dog")
    with concepts.applied(tiny_base):
        assert not torch.equal(predict("a photo of a dog"), plain)
        assert not torch.equal(predict("<asset0>"), predict("<asset1>"))
        embedded = tiny_base.text_encoder.get_input_embeddings()(tiny_base.tokenize(["<asset1>"])[0])
        assert torch.equal(embedded[0, 1], concepts.embeddings[1])
    assert torch.equal(predict("a photo of a dog"), plain)
    assert tiny_base.tokenizer.get_vocab() == vocabulary
    assert_same_base(tiny_base, before)


def test_other_base_is_refused(run, sd_base):
    _, concepts = run
    with pytest.raises(UserError, match="learned on"), concepts.applied(sd_base):
        pass


def test_invalid_run_folders(run, tmp_path):
    out, concepts = run
    with pytest.raises(UserError, match="is not a run folder"):
        Concepts.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is not a run folder"):
        Concepts.load(out / "scene")
    broken = tmp_path / "broken"
    concepts.save(broken)
    (broken / "concepts.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="damaged"):
        Concepts.load(broken)
    manifest = json.loads((broken / "manifest.json").read_text())
    (broken / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(UserError, match="another version"):
        Concepts.load(broken)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is not empty"):
        concepts.save(tmp_path / "letters")
    assert (tmp_path / "letters" / "letter.txt").read_text() == "dear"
