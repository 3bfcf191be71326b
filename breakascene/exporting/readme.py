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
        f"| `{spelling(target, token)}` | {name.replace('|', '&#124;')} |"
        for token, name in zip(names, concepts.names, strict=True)
    )
    prompts = prompts_for(target, [image.metadata["prompt"] for image in images], concepts, names, lora)
    examples = "\n\n".join(
        f"```\n{prompt}\n```\n\n![Image {i + 1}](images/{i}.png)" for i, prompt in enumerate(prompts)
    )
    first = images[0].metadata
    settings = (
        f"{first['num_inference_steps']} steps of DPM-Solver++ (DPM++ 2M with evenly spaced timesteps), guidance scale "
        f"{first['guidance_scale']:g}, {first['width']} × {first['height']} pixels, seed {first['seed']}"
    )
    expected = (
        "The code above gives the first of these images, and with another prompt the others."
        if target == "diffusers"
        else "Other programs draw other noise for a seed, so expect a similar image, not the same."
    )
    missing = ""
    if left_out:
        listed = "\n".join(f"- {name}" for name in left_out)
        missing = f"\n## Not exported\n\n{PROGRAMS[target]} has no keys for these weights of the run:\n\n{listed}\n"
    return f"""# {", ".join(concepts.names)} for {PROGRAMS[target]}

Learned on {base.name}; use that model.

{_steps(target, base, names, lora, prompts[0], first, has_differences)}

| In prompts | Object |
|---|---|
{table}

## Prompts

Generated with {settings}. {expected}

{examples}
{missing}"""


def _steps(
    target: str, base: Base, names: Sequence[str], lora: str, prompt: str, settings: dict, has_differences: bool
) -> str:
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
    code = snippet(base, names, prompt, settings, has_differences)
    return f"Run this in the folder of this file:\n\n```python\n{code}```"


def snippet(base: Base, names: Sequence[str], prompt: str, settings: dict, has_differences: bool) -> str:
    """Return Python code that loads an export into a diffusers pipeline and generates the image with those settings."""
    pipeline = "StableDiffusionXLPipeline" if base.is_sdxl else "StableDiffusionPipeline"
    model = "assets/toybox" if base.name == "toybox" else base.name
    loader = "from_single_file" if model.endswith(".safetensors") else "from_pretrained"
    lines = ["import torch", f"from diffusers import DPMSolverMultistepScheduler, {pipeline}"]
    if has_differences or base.is_sdxl:
        lines.append("from safetensors.torch import load_file")
    note = "  # the folder in the repository of Break-A-Scene Studio" if base.name == "toybox" else ""
    lines += [
        "",
        f"pipe = {pipeline}.{loader}({model!r}, torch_dtype=torch.float32){note}",
        "pipe.scheduler = DPMSolverMultistepScheduler.from_config(",
        '    pipe.scheduler.config, algorithm_type="dpmsolver++", timestep_spacing="trailing"',
        ")",
    ]
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
    lines += [
        "image = pipe(",
        f"    {prompt!r},",
        f"    num_inference_steps={settings['num_inference_steps']}, guidance_scale={settings['guidance_scale']},",
        f"    width={settings['width']}, height={settings['height']},",
        f"    generator=torch.Generator().manual_seed({settings['seed']}),",
        ").images[0]",
        'image.save("image.png")',
    ]
    return "\n".join(lines) + "\n"
