"""Steps of the preset `paper` against the authors' public code written out, see helpers/public_code.py."""

from dataclasses import replace

import pytest
import torch
from helpers.public_code import PublicCode

from breakascene.models.attention import AttentionStore
from breakascene.models.handles import initial_embeddings, with_handles
from breakascene.training import optim
from breakascene.training.augment import TrainingData
from breakascene.training.prior import prior_latents
from breakascene.training.settings import preset
from breakascene.training.state import TrainState
from breakascene.training.step import compute_losses, sample_batch


def assert_near(ours, theirs, tolerance):
    """Compare two dicts of gradients, each by its largest value; some are zero up to rounding, as before a norm."""
    assert ours.keys() == theirs.keys()
    largest = max(value.abs().max().item() for value in theirs.values())
    for name, value in theirs.items():
        limit = tolerance * value.abs().max().item() + 1e-6 * largest
        assert (ours[name] - value).abs().max().item() <= limit, name


@pytest.mark.parametrize(("kind", "max_grad_norm"), [("tiny", 1.0), ("tiny", 1e-3), ("sd", 1e-3), ("sd2", 1e-3)])
def test_two_steps_of_each_phase_are_those_of_the_public_code(kind, max_grad_norm, scene, request):
    base, scene = request.getfixturevalue(f"{kind}_base"), replace(scene, background=False)
    settings = preset("paper", base, num_prior_images=3, max_grad_norm=max_grad_norm, left_to_right=False)
    assert (settings.mask_resize, settings.train_batch_size) == ("nearest", 1)
    data = TrainingData.for_run(scene, base, settings)
    prior = prior_latents(base, 3, settings.prior_prompts)
    square = scene.square_crop(base.image_size)
    pixels = torch.tensor(square.pixels).permute(2, 0, 1) / 127.5 - 1
    masks = torch.tensor(square.masks, dtype=torch.float32)
    public = PublicCode(base, scene.handles, scene.names, base.attention_size)
    state = TrainState(base, settings, None)
    with (
        with_handles(base, scene.handles, initial_embeddings(base, scene.names)) as embeddings,
        optim.trainable(base, settings) as trainable,
    ):
        weights, clipped = trainable.parameters, []
        for phase in (1, 2):
            for weight in weights.values():
                weight.requires_grad_(phase == 2)
            state.begin_phase(phase, embeddings, weights if phase == 2 else {}, eight_bit=False)
            public.begin_phase(phase, settings.handle_lr if phase == 1 else settings.weight_lr)
            for _ in range(2):
                batch = sample_batch(base, data, scene.handles, prior if phase == 2 else None, settings, state.rng)
                image, subset = batch.image_index.item(), list(batch.subsets[0])
                flipped = [-1] if image == 1 else []
                prior_image = None
                if phase == 2:
                    index = batch.prior_index.item()
                    prior_image = prior.latents[index : index + 1], prior.prompts[index]
                expected = public.losses(
                    pixels.flip(flipped), masks.flip(flipped), subset, batch.posterior_noise, prior_image, batch.noise,
                    batch.timesteps,
                )  # fmt: skip
                expected[0].backward()
                with AttentionStore(base.unet, base.attention_layers, 1) as store:
                    losses = compute_losses(base, data, prior if phase == 2 else None, batch, settings, store)
                    losses.total.backward()
                found = [losses.total, *losses.parts.values()]
                for ours, theirs in zip(found, [loss for loss in expected if loss is not None], strict=True):
                    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)
                gradients = public.gradients()
                assert_near({name: p.grad for name, p in state.parameters.items()}, gradients, 2e-4)
                clipped.append(public.update(max_grad_norm) > max_grad_norm)
                state.update()
                state.finish_step(losses)
            moments = {name: state.optimizer.state[p]["exp_avg"] for name, p in state.parameters.items()}
            theirs = {name: public.optimizer.state[p]["exp_avg"] for name, p in public.named.items()}
            theirs["handles"] = theirs["handles"][public.ids]
            assert_near(moments, theirs, 2e-4)
            largest = max(value.abs().max() for value in theirs.values())
            for name, weight in public.weights().items():
                if theirs[name].abs().mean() > 1e-5 * largest:  # Adam divides tiny gradients by their own size
                    assert (state.parameters[name] - weight).abs().mean() < 0.02 * settings.weight_lr, name
        assert max_grad_norm == 1.0 or all(clipped)


def test_a_small_object_that_nearest_sampling_misses_keeps_its_place(tiny_base, scene):
    """It has no mask in `paper`, as in the public code, but an area and a position."""
    dot = torch.zeros(160, 160, dtype=torch.bool).numpy()
    dot[11:14, 11:14] = True  # between the pixels 0, 10, 20, … that latents of 16 cells read
    small = replace(scene, concepts=(*scene.concepts, replace(scene.concepts[0], mask=dot, name="dot")))
    data = TrainingData.encode(small, tiny_base, mask_resize="nearest")
    by_area = TrainingData.encode(small, tiny_base)
    assert data.masks[0, 2].sum() == 0 < by_area.masks[0, 2].sum()
    assert set(data.masks.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(data.areas, by_area.areas) and data.center_columns == by_area.center_columns
    assert data.attention_masks.isfinite().all()
