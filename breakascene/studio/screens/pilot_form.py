"""The form of a new pilot: photos, what is done with them, and prices."""

from dataclasses import dataclass

import gradio as gr

from breakascene.pilot.photos import SUFFIXES
from breakascene.studio import strings
from breakascene.training.modes import DEFAULT_PRESET, PRESET_NAMES

PROMPTS = "a photo of {object} at the beach\na photo of {objects} on a wooden table"
AMOUNTS = ("gpu_hour", "person_hour", "minutes_per_photo", "minutes_per_image", "reshoot")  # of the plan's prices
MAX_COUNT = 8  # images of a prompt


@dataclass(frozen=True)
class PilotForm:
    column: gr.Column
    files: gr.File
    create: gr.Button
    sample: gr.Button
    inputs: list  # of `plan_fields`


def build() -> PilotForm:
    with gr.Column(elem_id="pilot-form") as column:
        files = gr.File(
            label=strings.PILOT_FILES, file_count="multiple", file_types=["image", *SUFFIXES, ".json", ".yaml", ".yml"],
            height=180, elem_id="pilot-files",
        )  # fmt: skip
        gr.Markdown(strings.PILOT_FILES_INFO, elem_classes="hint")
        prompts = gr.Textbox(
            PROMPTS, label=strings.PILOT_PROMPTS, info=strings.PILOT_PROMPTS_INFO, lines=3, max_lines=12,
            elem_id="pilot-prompts",
        )  # fmt: skip
        with gr.Row():
            presets = gr.CheckboxGroup(
                [(strings.PRESETS[name][0], name) for name in PRESET_NAMES], value=[DEFAULT_PRESET],
                label=strings.PILOT_PRESETS, min_width=260, elem_id="pilot-presets",
            )  # fmt: skip
            count = gr.Slider(1, MAX_COUNT, 1, step=1, label=strings.PILOT_COUNT, min_width=260, elem_id="pilot-count")
        nobody = gr.Checkbox(False, label=strings.PILOT_NOBODY, elem_id="pilot-nobody")
        with gr.Accordion(strings.PILOT_PRICES, open=False, elem_id="pilot-prices"):
            gr.Markdown(strings.PILOT_PRICES_INFO, elem_classes="hint")
            with gr.Row():
                currency = gr.Textbox(
                    label=strings.PILOT_CURRENCY, placeholder="EUR", max_lines=1, max_length=8, min_width=120
                )
                amounts = [gr.Number(label=strings.PILOT_AMOUNTS[key], minimum=0, min_width=150) for key in AMOUNTS]
        with gr.Row(elem_classes="tools"):
            create = gr.Button(strings.PILOT_CREATE, variant="primary", elem_id="pilot-create")
            sample = gr.Button(strings.PILOT_SAMPLE, elem_id="pilot-sample")
    return PilotForm(column, files, create, sample, [prompts, presets, count, nobody, currency, *amounts])


def plan_fields(prompts: str, presets: list, count: float, nobody: bool, currency: str, *amounts: float | None) -> dict:
    """Return the values of the form as keys of a plan; an empty or unset one is left out there."""
    given = {key: amount for key, amount in zip(AMOUNTS, amounts, strict=True) if amount}
    return {
        "name": strings.PILOT_NAME,
        "consent": "nobody" if nobody else None,
        "presets": presets or None,
        "prompts": [line.strip() for line in (prompts or "").splitlines() if line.strip()],
        "count": int(count),
        "prices": {**({"currency": currency.strip()} if (currency or "").strip() else {}), **given} if given else None,
    }
