"""Time, memory and disk space of an extraction, compared with the authors' public code: python -m benchmarks.extraction

The reference loop does the work of the public code, on the same base and in the same process. It encodes the photo and
a prior image in every step; trains the whole token embedding table in phase 1, restoring all rows but the handles', and
all weights in phase 2; uses AdamW in float32 (under fp16 autocast on CUDA) with gradient clipping; computes attention
as matrix products and stores the maps of all layers; and saves the whole pipeline. Ours is `extract`. A few steps of
each phase are measured and extrapolated to a whole run.
"""

import ctypes
import gc
import json
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated

import psutil
import torch
import typer
from diffusers.models.attention_processor import Attention

from breakascene.cli.demo import sample_scene
from breakascene.data.scene import Scene
from breakascene.models.attention import token_maps
from breakascene.models.base import Base
from breakascene.models.handles import initial_embeddings, training_prompt
from breakascene.models.loading import load_base
from breakascene.training import losses
from breakascene.training.loop import run_extraction
from breakascene.training.modes import PRESET_NAMES
from breakascene.training.prior import PRIOR_PROMPTS, prior_latents
from breakascene.training.settings import Settings, preset
from breakascene.training.step import sample_subset

WARMUP_STEPS = 2  # of each phase, not measured


class _PeakMemory:
    """Peak memory of a block in bytes: all allocated memory of the GPU, on a CPU the growth of the resident memory."""

    def __init__(self, device: torch.device):
        self.device, self.bytes = device, 0

    def __enter__(self) -> "_PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return self
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # return freed memory to the system first; Linux only
        process = psutil.Process()
        self.start, self.done = process.memory_info().rss, threading.Event()

        def watch() -> None:
            while not self.done.wait(0.02):
                self.bytes = max(self.bytes, process.memory_info().rss - self.start)

        self.thread = threading.Thread(target=watch)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated()
        else:
            self.done.set()
            self.thread.join()


class _PlainAttention:
    """Attention processor that computes softmax(QKᵀ)V and stores the probabilities."""

    def __init__(self, store: dict[str, torch.Tensor], name: str):
        self.store, self.name = store, name

    def __call__(self, attn: Attention, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projections = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        query, key, value = (attn.head_to_batch_dim(projection) for projection in projections)
        probabilities = attn.get_attention_scores(query, key, attention_mask)  # (B·heads, Q, T)
        self.store[self.name] = probabilities
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(probabilities @ value)))


@contextmanager
def _all_maps(base: Base) -> Iterator[dict[str, torch.Tensor]]:
    """Store the attention probabilities of all layers by name within the block."""
    store, before = {}, dict(base.unet.attn_processors)
    base.unet.set_attn_processor({name: _PlainAttention(store, name.removesuffix(".processor")) for name in before})
    try:
        yield store
    finally:
        base.unet.set_attn_processor(before)


def reference(
    base: Base, scene: Scene, settings: Settings, count: int, prior_images: torch.Tensor
) -> tuple[list[float], list[float]]:
    """Run `count` steps of each phase as the public code does; the base's weights change.

    Args:
        base: The base model.
        scene: The photo and masks.
        settings: Learning rates and loss weights.
        count: Steps of each phase.
        prior_images: Images in [-1, 1], (N, 3, H, W).

    Returns:
        Seconds of each step of phase 1 and of phase 2.
    """
    rng = torch.Generator().manual_seed(0)
    square = scene.square_crop(base.image_size)
    photo = torch.tensor(square.pixels).permute(2, 0, 1)[None].to(base.device) / 127.5 - 1  # (1, 3, H, W)
    masks = torch.tensor(square.masks, dtype=torch.float32, device=base.device)  # (K, H, W)
    latent_masks = losses.downsample(masks, base.latent_size)
    attention_masks = losses.downsample(masks, base.attention_size)
    handles = [f"<asset{i}>" for i in range(len(scene.concepts))]
    base.tokenizer.add_tokens(handles)
    ids = base.tokenizer.convert_tokens_to_ids(handles)
    base.text_encoder.resize_token_embeddings(len(base.tokenizer))
    table = base.text_encoder.get_input_embeddings().weight
    table.data[ids] = initial_embeddings(base, scene.names).to(table)
    known = table.data[: -len(handles)].clone()
    autocast = torch.autocast("cuda", torch.float16, enabled=base.device.type == "cuda")
    # No gradient scaler: its time is negligible.
    times = []
    for phase in (1, 2):
        parameters = [*base.unet.parameters(), *base.text_encoder.parameters()] if phase == 2 else [table]
        for weight in parameters:
            weight.requires_grad_(True)
        lr = settings.handle_lr if phase == 1 else settings.weight_lr
        optimizer, seconds = torch.optim.AdamW(parameters, lr=lr, weight_decay=1e-2), []
        for _ in range(count):
            start = time.perf_counter()
            subset = sample_subset(len(handles), True, rng)
            index = int(torch.randint(len(prior_images), (), generator=rng))
            prompts = [training_prompt([handles[k] for k in subset]), PRIOR_PROMPTS[index % len(PRIOR_PROMPTS)]]
            pixels = torch.cat([photo, prior_images[index : index + 1]])
            with autocast, _all_maps(base) as maps:
                with torch.no_grad():
                    latents = base.vae.encode(pixels).latent_dist.sample() * base.vae.config.scaling_factor
                noise = torch.randn(latents.shape, generator=rng).to(latents)
                num_timesteps = base.scheduler.config.num_train_timesteps
                timesteps = torch.randint(num_timesteps, (len(latents),), generator=rng).to(base.device)
                noisy_latents, target = base.add_noise(latents, noise, timesteps)
                (input_ids,) = base.tokenize(prompts)
                encoder_hidden_states = base.text_encoder(input_ids).last_hidden_state
                model_pred = base.unet(noisy_latents, timesteps, encoder_hidden_states).sample
            loss = losses.masked_loss(model_pred[:1], target[:1], latent_masks[subset].amax(0)[None, None])
            layer_maps = [maps[layer].unflatten(0, (len(prompts), -1))[0].mean(0) for layer in base.attention_layers]
            tokens = input_ids[0].tolist()
            positions = [[tokens.index(ids[k])] for k in subset]
            handle_maps = token_maps(torch.stack(layer_maps).mean(0), positions)
            loss = loss + settings.attention_loss_weight * losses.attention_loss(
                handle_maps[None], attention_masks[subset][None], torch.ones(1, len(subset), device=base.device)
            )
            loss = loss + settings.prior_loss_weight * losses.prior_loss(model_pred[1:], target[1:])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            if phase == 1:
                table.data[: -len(handles)] = known
            if base.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        times.append(seconds)
    return times[0], times[1]


def ours(
    base: Base, scene: Scene, settings: Settings, count: int, out: Path, memory: str
) -> tuple[list[float], list[float]]:
    """Run `count` steps of each phase by `extract`; return the seconds of each step of phase 1 and of phase 2."""
    seconds = {1: [], 2: []}
    run_extraction(
        scene,
        base,
        replace(settings, steps=(count, count)),
        out,
        on_event=lambda event: seconds[event.phase].append(event.seconds),
        memory=memory,
        save_every=0,
    )
    return seconds[1], seconds[2]


def row(times: tuple[list, list], steps: tuple[int, int], memory: int, disk_size: int, overhead: float = 0.0) -> dict:
    """Return the measurements of one method.

    Args:
        times: Seconds of each step of phase 1 and of phase 2.
        steps: Steps of a whole run.
        memory: Peak memory in bytes.
        disk_size: Size of the result in bytes.
        overhead: Seconds outside the steps.
    """
    first, second = (median(seconds[WARMUP_STEPS:]) for seconds in times)
    total = overhead + first * steps[0] + second * steps[1]
    return {
        "seconds_phase_1": round(first, 4),
        "seconds_phase_2": round(second, 4),
        "seconds_to_the_end": round(total, 1),
        "steps": list(steps),
        "memory_mb": round(memory / 1e6),
        "size_mb": round(disk_size / 1e6, 1),
    }


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure(
    base_name: Annotated[str, typer.Option("--base", help="The base model.")] = "toybox",
    count: Annotated[int, typer.Option("--steps", help="Steps of each phase to run.")] = 20,
    memory: Annotated[str, typer.Option(help="Memory mode of ours: auto, fast, lean or least.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the measurements.")] = None,
) -> None:
    """Print a table of the public code's method and our presets, and their ratios."""
    scene, base = sample_scene(), load_base(base_name)
    prior = prior_latents(
        base, preset("quick", base).num_prior_images
    )  # generated once for a base, the same for all methods
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in PRESET_NAMES:
            settings, out = preset(name, base), Path(folder) / name
            start = time.perf_counter()
            with _PeakMemory(base.device) as peak:
                times = ours(base, scene, settings, count, out, memory)
            overhead = time.perf_counter() - start - sum(map(sum, times))  # encoding and saving
            table[name] = row(times, settings.steps, peak.bytes, size_of(out), overhead)
        settings = preset("paper", base)
        with torch.no_grad():
            scaled = prior.latents / base.vae.config.scaling_factor
            prior_images = torch.cat([base.vae.decode(part).sample.clamp(-1, 1) for part in scaled.split(4)])
        with _PeakMemory(base.device) as peak:
            times = reference(base, scene, settings, count, prior_images)
        base.pipeline().save_pretrained(Path(folder) / "reference")
        table = {"reference": row(times, (400, 400), peak.bytes, size_of(Path(folder) / "reference"))} | table
    print(f"{'':10} s/step 1  s/step 2  to the end  memory  on disk")
    public = table["reference"]
    for name, values in table.items():
        first, second, total, _, memory, size = values.values()
        print(f"{name:10} {first:8.3f}  {second:8.3f}  {total:8.0f} s  {memory:4} MB  {size:5} MB")
        if name != "reference":
            keys = ("seconds_phase_1", "seconds_phase_2", "seconds_to_the_end", "memory_mb", "size_mb")
            values["times_better"] = {key: round(public[key] / max(values[key], 1e-9), 2) for key in keys}
            print(f"{'':10} {'  '.join(f'{ratio}×' for ratio in values['times_better'].values())}")
    machine = torch.cuda.get_device_name() if base.device.type == "cuda" else f"{platform.machine()} CPU"
    print(f"{base.name} on {machine}, {torch.get_num_threads()} threads")
    if json_file:
        json_file.write_text(json.dumps({"base": base.name, "machine": machine, **table}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(measure)
