"""Time, memory and size of an extraction against the way of the public code: python -m benchmarks.extraction

The reference loop does, on the same base and in the same process, what the authors' code does: it encodes the photo and
a prior picture in every step of both phases, trains the whole table of words in phase 1 (and puts all rows but the
handles' back) and all weights in phase 2, with AdamW in float32 (under fp16 autocast on CUDA) and clipped gradients,
runs attention as plain matrices and keeps the maps of all layers, and saves the whole pipeline. Ours is `extract` as it
is. A few steps of each phase are measured; the time to the end follows.
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
from breakascene.models.attention import token_maps
from breakascene.models.base import Base
from breakascene.models.handles import initial_embeddings, training_prompt
from breakascene.models.loading import load_base
from breakascene.training import losses
from breakascene.training.loop import run_extraction
from breakascene.training.prior import PRIOR_PROMPTS, prior_latents
from breakascene.training.settings import PRESET_NAMES, Settings, preset
from breakascene.training.step import sample_subset

WARM = 2  # first steps of a phase, left out


class _Peak:
    """The most memory in bytes while a block runs: all of the GPU's, else resident and above that at the start."""

    def __init__(self, device: torch.device):
        self.device, self.bytes = device, 0

    def __enter__(self) -> "_Peak":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return self
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier blocks freed goes back first; Linux only
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
    """Attention as softmax(QKᵀ)V, which keeps its probabilities in `store`."""

    def __init__(self, store: dict[str, torch.Tensor], name: str):
        self.store, self.name = store, name

    def __call__(self, attn: Attention, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        words = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(projected)
            for projected in (attn.to_q(hidden_states), attn.to_k(words), attn.to_v(words))
        )
        shares = attn.get_attention_scores(query, key, attention_mask)  # (B·heads, Q, T)
        self.store[self.name] = shares
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(shares @ value)))


@contextmanager
def _all_maps(base: Base) -> Iterator[dict[str, torch.Tensor]]:
    store, before = {}, dict(base.unet.attn_processors)
    base.unet.set_attn_processor({name: _PlainAttention(store, name.removesuffix(".processor")) for name in before})
    try:
        yield store
    finally:
        base.unet.set_attn_processor(before)


def reference(base: Base, scene, settings: Settings, count: int, prior_pictures: torch.Tensor) -> tuple[list, list]:
    """`count` steps of each phase the public way; returns the seconds of each. The base's weights are changed."""
    rng = torch.Generator().manual_seed(0)
    square = scene.square_crop(base.image_size)
    photo = torch.tensor(square.pixels).permute(2, 0, 1)[None].to(base.device) / 127.5 - 1  # (1, 3, H, W)
    masks = torch.tensor(square.masks, dtype=torch.float32, device=base.device)  # (K, H, W)
    small, cells = losses.downsample(masks, base.latent_size), losses.downsample(masks, base.attention_size)
    handles = [f"<asset{i}>" for i in range(len(scene.concepts))]
    base.tokenizer.add_tokens(handles)
    ids = base.tokenizer.convert_tokens_to_ids(handles)
    base.text_encoder.resize_token_embeddings(len(base.tokenizer))
    table = base.text_encoder.get_input_embeddings().weight
    table.data[ids] = initial_embeddings(base, scene.names).to(table)
    known = table.data[: -len(handles)].clone()
    half_precision = torch.autocast("cuda", torch.float16, enabled=base.device.type == "cuda")
    # Without a scaler for half-precision gradients: it costs nothing that would show.
    times = []
    for phase in (1, 2):
        everything = [*base.unet.parameters(), *base.text_encoder.parameters()] if phase == 2 else [table]
        for weight in everything:
            weight.requires_grad_(True)
        rate = settings.handle_lr if phase == 1 else settings.weight_lr
        optimizer, seconds = torch.optim.AdamW(everything, lr=rate, weight_decay=1e-2), []
        for _ in range(count):
            started = time.perf_counter()
            subset = sample_subset(len(handles), True, rng)
            chosen = int(torch.randint(len(prior_pictures), (), generator=rng))
            prompts = [training_prompt([handles[k] for k in subset]), PRIOR_PROMPTS[chosen % len(PRIOR_PROMPTS)]]
            pixels = torch.cat([photo, prior_pictures[chosen : chosen + 1]])
            with half_precision, _all_maps(base) as maps:
                with torch.no_grad():
                    latents = base.vae.encode(pixels).latent_dist.sample() * base.vae.config.scaling_factor
                noise = torch.randn(latents.shape, generator=rng).to(latents)
                steps = base.scheduler.config.num_train_timesteps
                timesteps = torch.randint(steps, (len(latents),), generator=rng).to(base.device)
                noisy, target = base.add_noise(latents, noise, timesteps)
                words = base.text_encoder(base.tokens(prompts)).last_hidden_state
                prediction = base.unet(noisy, timesteps, words).sample
            loss = losses.masked_loss(prediction[:1], target[:1], small[subset].amax(0)[None, None])
            read = [maps[layer].unflatten(0, (len(prompts), -1))[0].mean(0) for layer in base.attention_layers]
            tokens = base.tokens(prompts)[0].tolist()
            places = [[tokens.index(ids[k])] for k in subset]
            seen = token_maps(torch.stack(read).mean(0), places)
            loss = loss + settings.attention_loss_weight * losses.attention_loss(
                seen[None], cells[subset][None], torch.ones(1, len(subset), device=base.device)
            )
            loss = loss + settings.prior_loss_weight * losses.prior_loss(prediction[1:], target[1:])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(everything, 1.0)
            optimizer.step()
            if phase == 1:
                table.data[: -len(handles)] = known
            if base.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        times.append(seconds)
    return times[0], times[1]


def ours(base: Base, scene, settings: Settings, count: int, out: Path, memory: str) -> tuple[list, list]:
    """`count` steps of each phase through `extract`; returns the seconds of each."""
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


def row(times: tuple[list, list], steps: tuple[int, int], memory: int, size: int, before: float = 0.0) -> dict:
    """The figures of one way: seconds a step of both phases, to the end with `before`, and bytes as MB."""
    first, second = (median(seconds[WARM:]) for seconds in times)
    whole = before + first * steps[0] + second * steps[1]
    return {
        "seconds_phase_1": round(first, 4),
        "seconds_phase_2": round(second, 4),
        "seconds_to_the_end": round(whole, 1),
        "steps": list(steps),
        "memory_mb": round(memory / 1e6),
        "size_mb": round(size / 1e6, 1),
    }


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure(
    base_name: Annotated[str, typer.Option("--base")] = "toybox",
    count: Annotated[int, typer.Option("--steps", help="Measured steps of each phase.")] = 20,
    memory: Annotated[str, typer.Option(help="How ours uses it: auto, fast, lean or least.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print a table of the public way and our presets, and the ratios between them."""
    scene, base = sample_scene(), load_base(base_name)
    prior = prior_latents(base, preset("quick", base).num_prior_images)  # drawn once for a base, the same for all ways
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in PRESET_NAMES:
            settings, out = preset(name, base), Path(folder) / name
            started = time.perf_counter()
            with _Peak(base.device) as peak:
                times = ours(base, scene, settings, count, out, memory)
            before = time.perf_counter() - started - sum(map(sum, times))  # encoding and saving
            table[name] = row(times, settings.steps, peak.bytes, size_of(out), before)
        settings = preset("paper", base)
        with torch.no_grad():
            scaled = prior.latents / base.vae.config.scaling_factor
            pictures = torch.cat([base.vae.decode(part).sample.clamp(-1, 1) for part in scaled.split(4)])
        with _Peak(base.device) as peak:
            times = reference(base, scene, settings, count, pictures)
        base.pipeline().save_pretrained(Path(folder) / "reference")
        table = {"reference": row(times, (400, 400), peak.bytes, size_of(Path(folder) / "reference"))} | table
    print(f"{'':10} s/step 1  s/step 2  to the end  memory  on disk")
    public = table["reference"]
    for name, figures in table.items():
        first, second, whole, _, memory, size = figures.values()
        print(f"{name:10} {first:8.3f}  {second:8.3f}  {whole:8.0f} s  {memory:4} MB  {size:5} MB")
        if name != "reference":
            keys = ("seconds_phase_1", "seconds_phase_2", "seconds_to_the_end", "memory_mb", "size_mb")
            figures["times_better"] = {key: round(public[key] / max(figures[key], 1e-9), 2) for key in keys}
            print(f"{'':10} {'  '.join(f'{value}×' for value in figures['times_better'].values())}")
    where = torch.cuda.get_device_name() if base.device.type == "cuda" else f"{platform.machine()} CPU"
    print(f"{base.name} on {where}, {torch.get_num_threads()} threads")
    if json_file:
        json_file.write_text(json.dumps({"base": base.name, "machine": where, **table}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(measure)
