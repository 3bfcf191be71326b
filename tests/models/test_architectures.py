"""Stable Diffusion 1, 2 and XL with small random weights through the whole chain, with diffusers as the oracle."""

import json
import math
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel
from helpers.files import listing
from helpers.models import assert_same_base, weights_of
from helpers.runs import assert_same, photo_latents, short, stop_after
from safetensors.torch import load_file, save_file

from breakascene.errors import UserError
from breakascene.exporting.archive import pack, unpack
from breakascene.generation.generate import generate
from breakascene.models import lora
from breakascene.models.attention import select_layers
from breakascene.models.concepts import Concepts
from breakascene.models.handles import HandleEmbedding, initial_embeddings, token_positions, with_handles
from breakascene.models.loading import load_base
from breakascene.training.loop import extract, run_extraction
from breakascene.training.monitor import attention_maps

KINDS = ("sd", "sd2", "sdxl")
HANDLES = ("<asset0>", "<asset1>", "<background>")
PROMPTS = ["a photo of ball at mug", "a photo of dog"]


@pytest.fixture(params=KINDS)
def base(request):
    return request.getfixturevalue(f"{request.param}_base")


def brief(base):
    """Settings of a few steps; prior images only where they are fast to generate."""
    return short(base, steps=(2, 2), prior_loss_weight=float(base.latent_size < 64))


@pytest.fixture(scope="module")
def full_runs(scene, request):
    """An uninterrupted run on each kind, to compare with."""
    bases = {kind: request.getfixturevalue(f"{kind}_base") for kind in KINDS}
    return {base.fingerprint: run_extraction(scene, base, brief(base)) for base in bases.values()}


def test_sizes_of_sdxl_come_from_the_model(sdxl_base, sd2_base):
    assert (sdxl_base.image_size, sdxl_base.latent_size, sdxl_base.attention_size) == (128, 32, 16)
    assert (sdxl_base.embedding_dim, sd2_base.embedding_dim) == (80, 32) and sdxl_base.is_sdxl and not sd2_base.is_sdxl
    assert list(sdxl_base.trainable_modules) == ["unet", "text_encoder", "text_encoder_2"]
    assert sd2_base.prediction_type == "v_prediction"


def test_sdxl_at_its_real_size_uses_the_layers_of_32_cells():
    """At 1024 px it has cross-attention on 64 × 64 and 32 × 32 cells only: the nearest to 16 is taken."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
        )
    side, layers = select_layers(unet)
    assert side == 32 and len(layers) == (2 + 3) * 10
    assert {".".join(layer.split(".")[:2]) for layer in layers} == {"down_blocks.2", "up_blocks.0"}


@torch.no_grad()
def test_prompts_are_encoded_as_by_diffusers(base):
    """encode_prompt and _get_add_time_ids of diffusers' own pipelines are the oracle, with handles and without."""
    embeddings = torch.randn(3, base.embedding_dim, generator=torch.Generator().manual_seed(0))
    for handles, prompts in (((), PROMPTS), (HANDLES, ["a photo of <asset1> and <asset0>", "<background>"])):
        with with_handles(base, handles, embeddings[: len(handles)]):
            encoded, pipeline = base.encode_prompts(prompts), base.pipeline()
            hidden, _, *pooled = pipeline.encode_prompt(
                prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
            )
        assert torch.equal(encoded["encoder_hidden_states"], hidden) and hidden.shape == (2, 77, base.embedding_dim)
        if base.is_sdxl:
            size = (base.image_size, base.image_size)
            ids = pipeline._get_add_time_ids(size, (0, 0), size, hidden.dtype, text_encoder_projection_dim=40)
            assert torch.equal(encoded["added_cond_kwargs"]["text_embeds"], pooled[0]) and pooled[0].shape == (2, 40)
            assert torch.equal(encoded["added_cond_kwargs"]["time_ids"], ids.repeat(2, 1)) and ids.shape == (1, 6)


@torch.no_grad()
def test_a_pipeline_step_is_a_prediction(base):
    """One step of diffusers' own pipeline, without guidance, calls the UNet as predict does."""
    calls = []
    hook = base.unet.register_forward_hook(lambda _, args, kwargs, out: calls.append((args, out[0])), with_kwargs=True)
    try:
        base.pipeline()(PROMPTS, num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    finally:
        hook.remove()
    (noisy_latents, timestep), model_pred = calls[0]
    assert torch.allclose(base.predict(noisy_latents, timestep.expand(2), PROMPTS), model_pred, atol=1e-5)


@torch.no_grad()
def test_pooled_embeddings_are_taken_at_the_end_token(sdxl_base, monkeypatch):
    """Handles have larger ids than the end token, and with eos_token_id 2 transformers pools at the largest id."""
    prompt = "a photo of <asset0> at <asset1>"
    assert all(encoder.model.config.eos_token_id == 2 for encoder in sdxl_base.encoders)
    plain = sdxl_base.encode_prompts(PROMPTS[:1])
    with with_handles(sdxl_base, HANDLES, initial_embeddings(sdxl_base, ["ball", "mug", "background"])):
        # The handles have the embeddings of these words, so only the token ids differ.
        encoded = sdxl_base.encode_prompts([prompt])
        assert torch.equal(encoded["encoder_hidden_states"], plain["encoder_hidden_states"])
        assert torch.equal(encoded["added_cond_kwargs"]["text_embeds"], plain["added_cond_kwargs"]["text_embeds"])
        assert [token_positions(sdxl_base, prompt, HANDLES)[i] for i in (0, 1)] == [[4], [6]]
        second = sdxl_base.encoders[1]
        ids = second.tokenize([prompt])[0].tolist()
        assert [ids[4], ids[6]] == second.tokenizer.convert_tokens_to_ids(["<asset0>", "<asset1>"])
        monkeypatch.setattr(second.model.text_model, "eos_token_id", 2)  # as transformers does by default
        wrong = sdxl_base.encode_prompts([prompt])
        assert not torch.equal(wrong["added_cond_kwargs"]["text_embeds"], plain["added_cond_kwargs"]["text_embeds"])


def test_each_text_encoder_takes_its_part_of_a_handle(sdxl_base):
    before = weights_of(sdxl_base)
    embeddings = initial_embeddings(sdxl_base, ["ball", "mug"])
    for encoder, part in zip(sdxl_base.encoders, embeddings.split([32, 48], 1), strict=True):
        table = encoder.model.get_input_embeddings().weight
        assert torch.equal(part[1], table[encoder.tokenizer.convert_tokens_to_ids("mug</w>")])
    with with_handles(sdxl_base, HANDLES[:2], embeddings) as parameter:
        for encoder in sdxl_base.encoders:
            assert isinstance(encoder.model.get_input_embeddings(), HandleEmbedding)
        sdxl_base.predict(torch.randn(1, 4, 32, 32), torch.tensor([300]), ["a photo of <asset0>"]).sum().backward()
        assert parameter.grad[0, :32].all() and parameter.grad[0, 32:].all() and not parameter.grad[1].any()
    assert_same_base(sdxl_base, before)


def test_phase_1_changes_the_handles_and_nothing_else(base, scene):
    before, start = weights_of(base), initial_embeddings(base, scene.names)
    for _ in extract(scene, base, short(base, steps=(2, 0))):
        now = {name.replace(".table", ""): value for name, value in weights_of(base).items()}
        embeddings = [now.pop(name) for name in list(now) if name.endswith("token_embedding.embeddings")]
        assert len(embeddings) == len(base.encoders)
        assert now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in before)
        assert ((embeddings[0] != start).float().mean(1)[:2] > 0).all()
    assert_same_base(base, before)


@pytest.mark.parametrize("at", [1, 3])
def test_stopped_run_resumes_to_the_same_end(base, scene, full_runs, tmp_path, at):
    before, out = weights_of(base), tmp_path / "run"
    part = run_extraction(scene, base, brief(base), out, stop=stop_after(at))
    assert part.steps == at
    end = run_extraction(scene, base, brief(base), out, resume=True)
    assert_same(end, full_runs[base.fingerprint])
    assert_same(Concepts.load(out), end)
    assert all(math.isfinite(value) for losses in end.losses for value in losses.values())
    moved = {key.split(".")[0] for key, value in end.delta.items() if key.endswith(".B") and value.any()}
    assert moved == set(base.trainable_modules)
    assert_same_base(base, before)


def test_all_weights_of_sdxl_can_be_trained(sdxl_base, scene, tmp_path):
    before, settings = weights_of(sdxl_base), short(sdxl_base, "paper", steps=(1, 2), prior_loss_weight=0.0)
    uninterrupted = run_extraction(scene, sdxl_base, settings)
    run_extraction(scene, sdxl_base, settings, tmp_path / "run", stop=stop_after(2))
    assert_same(run_extraction(scene, sdxl_base, settings, tmp_path / "run", resume=True), uninterrupted)
    moved = {
        key.split(".")[0] for key, value in uninterrupted.delta.items() if key.endswith((".B", ".diff")) and value.any()
    }
    assert moved == set(sdxl_base.trainable_modules)
    assert lora.delta_fits(sdxl_base, uninterrupted.delta)
    assert_same_base(sdxl_base, before)


def test_concepts_generate_and_the_base_is_restored(base, scene, full_runs, tmp_path):
    before, concepts = weights_of(base), full_runs[base.fingerprint]
    concepts.save(tmp_path / "run", scene)
    loaded = Concepts.load(tmp_path / "run")
    assert loaded.id == concepts.id and loaded.embeddings.shape == (3, base.embedding_dim)
    with loaded.applied(base):
        assert all(
            value.max() == 1 for value in attention_maps(base, photo_latents(base, scene), loaded.handles).values()
        )
    prompts = ["a photo of <asset0> and <asset1>", "a photo of <background>"]
    images = [p.image for p in generate(base, loaded, prompts, num_inference_steps=2, seed=3)]
    again = [p.image for p in generate(base, loaded, prompts, num_inference_steps=2, seed=3)]
    plain = [p.image for p in generate(base, None, ["a photo of dog", "a photo of cat"], num_inference_steps=2, seed=3)]
    assert all(image.size == (base.image_size, base.image_size) for image in images)
    assert [p.tobytes() for p in images] == [p.tobytes() for p in again] != [p.tobytes() for p in plain]
    other = [
        p.image.tobytes()
        for p in generate(base, loaded, prompts, num_inference_steps=2, seed=3, negative_prompt="a car")
    ]
    assert other[0] != images[0].tobytes()
    assert_same_base(base, before)


def test_sdxl_run_file(sdxl_base, scene, full_runs, tmp_path):
    concepts = full_runs[sdxl_base.fingerprint]
    concepts.save(tmp_path / "run", scene)
    pack(tmp_path / "run", tmp_path / "run.zip")
    assert_same(unpack(tmp_path / "run.zip", sdxl_base, tmp_path / "back"), concepts)
    file = tmp_path / "run" / "concepts.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "handles": tensors["handles"][:, :32].contiguous()}, file)  # for one text encoder alone
    pack(tmp_path / "run", tmp_path / "run.zip")
    with pytest.raises(UserError, match="do not fit the model"):
        unpack(tmp_path / "run.zip", sdxl_base, tmp_path / "other")
    assert "other" not in listing(tmp_path)


def test_incomplete_sdxl(sdxl_folder, tmp_path):
    broken = shutil.copytree(sdxl_folder, tmp_path / "broken")
    index = json.loads((broken / "model_index.json").read_text())

    def refused():
        with pytest.raises(UserError, match="incomplete.*for SDXL also tokenizer_2 and text_encoder_2"):
            load_base(broken, "cpu")

    without = {**index, "tokenizer": [None, None], "text_encoder": [None, None]}  # as SDXL's refiner is
    (broken / "model_index.json").write_text(json.dumps(without))
    refused()
    (broken / "model_index.json").write_text("{")
    refused()
    (broken / "model_index.json").write_text(json.dumps(index))
    assert load_base(broken, "cpu").is_sdxl
    shutil.rmtree(broken / "text_encoder_2")
    refused()


def test_inpainting_base_is_refused(sd_folder, tmp_path):
    other = shutil.copytree(sd_folder, tmp_path / "other")
    unet = UNet2DConditionModel.from_pretrained(other, subfolder="unet", use_safetensors=True)
    UNet2DConditionModel.from_config({**unet.config, "in_channels": 9}).save_pretrained(other / "unet")
    with pytest.raises(UserError, match="inpainting"):
        load_base(other, "cpu")
