"""The README of an export: where the files belong in each program, and prompts to paste."""

from collections.abc import Sequence

from breakascene.exporting.diffusers_format import DIFFERENCES, FILE
from breakascene.generation.generate import GeneratedImage
from breakascene.models.base import Base
from breakascene.models.concepts import Concepts

PROGRAMS = {
    "kohya": "InvokeAI, SD.Next and others",
    "comfyui": "ComfyUI",
    "a1111": "AUTOMATIC1111 web UI and Forge",
    "diffusers": "diffusers",
}


def spelling(target: str, name: str) -> str:
    """Return how a prompt of the target refers to an embedding."""
    return {"kohya": name, "a1111": name, "comfyui": f"embedding:{name}", "diffusers": f"<{name}>"}[target]


def prompts_for(target: str, prompts: Sequence[str], concepts: Concepts, names: Sequence[str], lora: str) -> list[str]:
    """Translate prompts with our handles to the names that the target knows."""
    translated = []
    for prompt in prompts:
        for handle, name in zip(concepts.handles, names, strict=True):
            prompt = prompt.replace(handle, spelling(target, name))
        # Web UIs load the LoRA by a tag in the prompt
        translated.append(f"{prompt} <lora:{lora}:1>" if target == "a1111" else prompt)
    return translated


def text(
    target: str,
    base: Base,
    concepts: Concepts,
    names: Sequence[str],
    lora: str,
    images: Sequence[GeneratedImage],
    left_out: Sequence[str],
    has_differences: bool,
) -> str:
    """Return the README.

    Args:
        target: The program, see PROGRAMS.
        base: The base of the concepts.
        concepts: The concepts.
        names: Names of the handles in the program.
        lora: Name of the LoRA file without its suffix.
        images: Generated images, whose prompts are given to paste.
        left_out: Names of weights that the program cannot take.
        has_differences: Whether there is a file of weight differences, for diffusers.
    """
    table = "\n".join(
        f"| {spelling(target, token)} | {name} |" for token, name in zip(names, concepts.names, strict=True)
    )
    prompts = prompts_for(target, [image.metadata["prompt"] for image in images], concepts, names, lora)
    examples = "\n\n".join(
        f"```\n{prompt}\n```\n\n![{image.metadata['prompt']}](images/{i}.png)"
        for i, (prompt, image) in enumerate(zip(prompts, images, strict=True))
    )
    first = images[0].metadata
    settings = (
        f"{first['num_inference_steps']} steps of DPM-Solver++ (DPM++ 2M with evenly spaced timesteps), guidance scale "
        f"{first['guidance_scale']:g}, {first['width']} × {first['height']} pixels, seed {first['seed']}"
    )
    missing = ""
    if left_out:
        listed = "\n".join(f"- {name}" for name in left_out)
        missing = f"\n## Not exported\n\n{PROGRAMS[target]} has no keys for these weights of the run:\n\n{listed}\n"
    return f"""# {", ".join(concepts.names)} for {PROGRAMS[target]}

Learned on {base.name}; use that model.

{_steps(target, base, names, lora, prompts[0], has_differences)}

| In prompts | Object |
|---|---|
{table}

## Prompts

Generated with {settings}. Other programs draw other noise for a seed, so expect a similar image, not the same.

{examples}
{missing}"""


def _steps(target: str, base: Base, names: Sequence[str], lora: str, prompt: str, has_differences: bool) -> str:
    if target == "kohya":
        return (
            f"1. Import `{lora}.safetensors` as a LoRA, with weight 1.\n"
            "2. Import the files of `embeddings/` as textual inversions. Some programs write their names in a way of "
            "their own, for example `<name>` in InvokeAI."
        )
    if target == "comfyui":
        return (
            f"1. Copy `{lora}.safetensors` to `models/loras` and the files of `embeddings/` to `models/embeddings`.\n"
            "2. Add a *Load LoRA* node with strength 1 for model and CLIP.\n"
            "3. In a prompt write an embedding as below and put a space or a comma after it."
        )
    if target == "a1111":
        return (
            f"1. Copy `{lora}.safetensors` to `models/Lora`. It contains the embeddings.\n"
            "2. For Forge, which does not read them there, copy the files of `embeddings/` to `embeddings` as well.\n"
            "3. Keep the `<lora:…>` tag in the prompt."
        )
    return f"```python\n{snippet(base, names, prompt, has_differences)}```"


def snippet(base: Base, names: Sequence[str], prompt: str, has_differences: bool) -> str:
    """Return Python code that loads an export into a diffusers pipeline and generates an image."""
    pipeline = "StableDiffusionXLPipeline" if base.is_sdxl else "StableDiffusionPipeline"
    model = "assets/toybox" if base.name == "toybox" else base.name
    loader = "from_single_file" if model.endswith(".safetensors") else "from_pretrained"
    lines = ["import torch", f"from diffusers import {pipeline}"]
    if has_differences or base.is_sdxl:
        lines.append("from safetensors.torch import load_file")
    lines += ["", f"pipe = {pipeline}.{loader}({model!r}, torch_dtype=torch.float32)"]
    if has_differences:  # first: with LoRA loaded, parameters have other names
        lines += [
            f"for name, value in load_file({DIFFERENCES!r}).items():  # biases and norms",
            '    component, path = name.split(".", 1)',
            "    getattr(pipe, component).get_parameter(path).data += value",
        ]
    lines.append(f"pipe.load_lora_weights({FILE!r})")
    lines.append(f"for name in {list(names)}:")
    if base.is_sdxl:
        lines += [
            '    embedding = load_file(f"embeddings/{name}.safetensors")',
            '    pipe.load_textual_inversion(embedding["clip_l"], token=f"<{name}>", text_encoder=pipe.text_encoder,',
            "                                tokenizer=pipe.tokenizer)",
            '    pipe.load_textual_inversion(embedding["clip_g"], token=f"<{name}>", text_encoder=pipe.text_encoder_2,',
            "                                tokenizer=pipe.tokenizer_2)",
            "for tokenizer, encoder in (",
            "    (pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)",
            "):  # SDXL's old configuration would take the new tokens for the end token",
            '    getattr(encoder, "text_model", encoder).eos_token_id = tokenizer.eos_token_id',
        ]
    else:
        lines.append('    pipe.load_textual_inversion(f"embeddings/{name}.safetensors")')
    lines.append(f"pipe({prompt!r}).images[0]")
    return "\n".join(lines) + "\n"
