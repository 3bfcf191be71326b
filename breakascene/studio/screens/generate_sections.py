"""The sections of step 3: the prompt, the settings of the images, the contact sheet, and the stored runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from breakascene.data.scene import MAX_CONCEPTS
from breakascene.generation.library import MAX_NAME
from breakascene.generation.variations import STRENGTH
from breakascene.studio import loaded, strings
from breakascene.studio.screens import confirmation, prompt_builder
from breakascene.studio.screens.confirmation import Confirmation
from breakascene.studio.screens.events import EVENT_OPTIONS, PageContext, Updates
from breakascene.studio.screens.generation_job import (
    MAX_IMAGES,
    MAX_INFERENCE_STEPS,
    MAX_PROMPT,
    SQUARE,
    shape_choices,
    shape_of,
)
from breakascene.studio.state.gallery import Gallery, image_seed
from breakascene.studio.state.run_store import ChosenRuns
from breakascene.studio.state.session import Session

CHIPS = 3 * (MAX_CONCEPTS + 1)  # the objects and backgrounds of three object sets
INSERT_JS = Path(__file__).parent.with_name("static").joinpath("insert.js").read_text(encoding="utf-8")

# Updates the button's label with the number of images that the contact sheet would have.
SHEET_LABEL_JS = """(prompt, objects, styles, places, tries) => {
  const lines = prompt.split("\\n").filter((line) => line.trim()).length;
  const rows = lines * Math.max(1, styles.length) * Math.max(1, places.length);
  return LABEL.replace("{n}", rows * Math.max(1, objects.length) * tries);
}"""


@dataclass(frozen=True)
class WordChips:
    """Places or styles, of which only those of the base in use are shown.

    Attributes:
        buttons: Each with its text in the prompt.
    """

    toybox: gr.Row
    others: gr.Row
    buttons: Sequence[tuple[str, gr.Button]]

    def show(self) -> Updates:
        return {self.toybox: gr.Row(visible=loaded.is_toybox()), self.others: gr.Row(visible=not loaded.is_toybox())}


@dataclass(frozen=True)
class PromptSection:
    """The prompt, and the buttons that insert a handle, a place or a style.

    Attributes:
        chips: A button for each concept.
        history: Prompts of earlier images.
        hints: How the prompt is understood, and what to change.
    """

    prompt: gr.Textbox
    history: gr.Dropdown
    hints: gr.HTML
    chips: Sequence[gr.Button]
    places: WordChips
    styles: WordChips

    def history_update(self, gallery: Gallery) -> Updates:
        """The prompts of the session's images, the newest first."""
        prompts = gallery.prompts()
        return {self.history: gr.Dropdown(prompts, value=None, visible=bool(prompts))}

    def chip_updates(self, runs: ChosenRuns | None) -> Updates:
        updates = {chip: gr.Button(visible=False) for chip in self.chips}
        if runs is not None:
            for chip, name, handle, icon in zip(self.chips, runs.names, runs.handles, runs.thumbnails(), strict=False):
                updates[chip] = gr.Button(f"{name}  {handle}", icon=str(icon), visible=True)
        return updates


def build_prompt(buttons: Sequence[gr.Button], without_prompt: Sequence[gr.Button]) -> PromptSection:
    """The prompt; the buttons that start and stop the generation, with or without it, stand right under it."""
    prompt = gr.Textbox(
        label=strings.PROMPT, info=strings.PROMPT_INFO, placeholder=strings.PROMPT_HINT, lines=2, max_lines=4,
        max_length=MAX_PROMPT, elem_id="prompt",
    )  # fmt: skip
    hints = gr.HTML(elem_id="prompt-hints")
    for button in buttons:
        button.render()
    with gr.Row():
        for button in without_prompt:
            button.render()
    history = gr.Dropdown([], label=strings.PROMPT_HISTORY, visible=False, elem_id="prompt-history")
    gr.Markdown(strings.INSERT_OBJECT, elem_classes="caption")
    with gr.Row(elem_classes="chips"):
        chips = [gr.Button(visible=False, size="sm", min_width=90, elem_id=f"chip-{i}") for i in range(CHIPS)]
    gr.Markdown(strings.PLACES_TITLE, elem_classes="caption")
    places = build_chips(strings.TOYBOX_PLACES, strings.SD_PLACES)
    gr.Markdown(strings.STYLES_TITLE, elem_classes="caption")
    styles = build_chips(strings.TOYBOX_STYLES, strings.SD_STYLES)
    return PromptSection(prompt, history, hints, chips, places, styles)


def build_chips(of_toybox: Mapping[str, str], of_others: Mapping[str, str]) -> WordChips:
    """Buttons for the words that the toybox knows and for those of other bases."""
    rows = []
    for words, is_shown in ((of_toybox, loaded.is_toybox()), (of_others, not loaded.is_toybox())):
        with gr.Row(elem_classes="chips", visible=is_shown) as row:
            rows.append((row, {text: gr.Button(label, size="sm", min_width=60) for text, label in words.items()}))
    (toybox, first), (others, second) = rows
    return WordChips(toybox, others, [*first.items(), *second.items()])


def connect_prompt(page: PageContext, section: PromptSection) -> None:
    prompt = section.prompt

    def insert_place(session: Session, text: str, place: str) -> Updates:
        runs = session.runs.chosen()
        return {prompt: prompt_builder.with_place(text, place, runs.suggested_handles() if runs else ())}

    def insert_style(session: Session, text: str, style: str) -> Updates:
        runs = session.runs.chosen()
        return {prompt: prompt_builder.with_style(text, style, runs.suggested_handles() if runs else ())}

    section.history.input(lambda text: text or gr.skip(), section.history, prompt, **EVENT_OPTIONS)
    for chip in section.chips:
        chip.click(None, [prompt, chip], [prompt], js=INSERT_JS, api_visibility="private")
    for buttons, insert in ((section.places, insert_place), (section.styles, insert_style)):
        for value, button in buttons.buttons:
            page.on(
                button.click,
                lambda session, text, insert=insert, value=value: insert(session, text, value),
                [prompt],
                [prompt],
            )


@dataclass(frozen=True)
class ImageSettings:
    """How many images, and the settings of each."""

    count: gr.Slider
    shape: gr.Radio
    advanced: gr.Accordion
    seed: gr.Number
    keep_seed: gr.Checkbox
    steps: gr.Slider
    guidance: gr.Slider
    negative: gr.Textbox
    lora: gr.File
    lora_scale: gr.Slider
    strength: gr.Slider  # of variations
    image: gr.File  # an image whose settings are restored

    def show_base(self) -> Updates:
        """What depends on the base in use."""
        return {
            self.count: gr.Slider(info=variety_info()),
            self.shape: gr.Radio(choices=shape_choices(), value=SQUARE),
            self.guidance: loaded.base().default_guidance_scale,
        }

    @property
    def inputs(self) -> list:
        """The seed, whether it is kept, and the options of generation_job.submit in their order."""
        options = [self.steps, self.guidance, self.negative, self.shape, self.lora, self.lora_scale]
        return [self.seed, self.keep_seed, *options]

    def of(self, metadata: dict) -> Updates:
        """The settings that generate an image once more."""
        return {
            self.count: 1,
            self.seed: image_seed(metadata),
            self.keep_seed: True,
            self.steps: metadata["num_inference_steps"],
            self.guidance: metadata["guidance_scale"],
            self.negative: metadata["negative_prompt"],
            self.shape: shape_of(metadata),
            **({self.strength: metadata["strength"]} if "strength" in metadata and "layout" not in metadata else {}),
        }


def variety_info() -> str | None:
    return strings.TOYBOX_VARIETY if loaded.is_toybox() else None


def build_settings() -> ImageSettings:
    count = gr.Slider(1, MAX_IMAGES, 4, step=1, label=strings.IMAGE_COUNT, info=variety_info(), elem_id="count")
    shape = gr.Radio(shape_choices(), value=SQUARE, label=strings.SHAPE, elem_id="shape")
    with gr.Accordion(strings.ADVANCED, open=False, elem_id="generate-advanced") as advanced:
        seed = gr.Number(None, label=strings.SEED, info=strings.SEED_INFO, precision=0, elem_id="seed")
        keep_seed = gr.Checkbox(False, label=strings.KEEP_SEED, elem_id="keep-seed")
        steps = gr.Slider(1, MAX_INFERENCE_STEPS, 20, step=1, label=strings.INFERENCE_STEPS, elem_id="inference-steps")
        guidance = gr.Slider(1, 20, loaded.base().default_guidance_scale, step=0.5, label=strings.GUIDANCE_SCALE)
        negative = gr.Textbox(label=strings.NEGATIVE_PROMPT, max_lines=2, max_length=MAX_PROMPT)
        lora = gr.File(label=strings.LORA, file_types=[".safetensors"], height=120, elem_id="lora")
        lora_scale = gr.Slider(0, 2, 1, step=0.05, label=strings.LORA_SCALE, visible=False, elem_id="lora-scale")
        strength = gr.Slider(
            0.05, 1, STRENGTH, step=0.05, label=strings.STRENGTH, info=strings.STRENGTH_INFO, elem_id="strength"
        )
        image = gr.File(label=strings.RESTORE_SETTINGS, file_types=[".png"], height=120, elem_id="restore-settings")
    seed.input(lambda: True, None, keep_seed, **EVENT_OPTIONS)  # a typed seed is meant to be kept
    lora.change(lambda file: gr.Slider(visible=file is not None), lora, lora_scale, **EVENT_OPTIONS)
    return ImageSettings(
        count, shape, advanced, seed, keep_seed, steps, guidance, negative, lora, lora_scale, strength, image
    )


@dataclass(frozen=True)
class SheetSection:
    """The options of a contact sheet."""

    objects: gr.CheckboxGroup
    styles: gr.CheckboxGroup
    places: gr.CheckboxGroup
    tries: gr.Slider
    start: gr.Button

    def objects_of(self, runs: ChosenRuns) -> gr.CheckboxGroup:
        names = dict(zip(runs.handles, runs.names, strict=True))
        handles = prompt_builder.object_handles(runs.handles)
        return gr.CheckboxGroup([(names[handle], handle) for handle in handles], value=handles)


def style_choices() -> dict[str, list]:
    """The styles of the base in use, none chosen."""
    return {"choices": [(label, style) for style, label in prompt_builder.styles().items()], "value": []}


def place_choices() -> dict[str, list]:
    """The places of the base in use, the first few chosen."""
    choices = [(label, place) for place, label in prompt_builder.places().items()]
    return {"choices": choices, "value": [place for _, place in choices[:4]]}


def build_sheet(prompt: gr.Textbox) -> SheetSection:
    with gr.Accordion(strings.SHEET, open=False, elem_id="sheet-options"):
        gr.Markdown(strings.SHEET_HINT, elem_classes="hint")
        objects = gr.CheckboxGroup([], label=strings.SHEET_OBJECTS, elem_id="sheet-objects")
        styles = gr.CheckboxGroup(**style_choices(), label=strings.SHEET_STYLES, elem_id="sheet-styles")
        places = gr.CheckboxGroup(**place_choices(), label=strings.SHEET_PLACES, elem_id="sheet-places")
        tries = gr.Slider(1, 4, 1, step=1, label=strings.SHEET_COUNT, elem_id="sheet-tries")
        start = gr.Button(strings.SHEET_GENERATE.format(n=1), variant="primary", elem_id="generate-sheet")
    label_js = SHEET_LABEL_JS.replace("LABEL", json.dumps(strings.SHEET_GENERATE))
    counted = [prompt, objects, styles, places, tries]
    for component in counted:
        component.change(None, counted, [start], js=label_js, api_visibility="private")
    return SheetSection(objects, styles, places, tries, start)


@dataclass(frozen=True)
class RunSection:
    """Name, tag, reopen, export, import and delete the stored runs; the base of the current one."""

    base: gr.HTML
    name: gr.Textbox
    tags: gr.Textbox
    save: gr.Button
    reopen: gr.Button
    upload: gr.UploadButton
    delete: gr.Button
    confirmation: Confirmation

    @property
    def fields(self) -> list:
        return [self.name, self.tags]


def build_runs(page: PageContext, base: gr.HTML) -> RunSection:
    with gr.Accordion(strings.OBJECT_SETS, open=False, elem_id="object-sets"):
        with gr.Row(equal_height=False):
            name = gr.Textbox(label=strings.SET_NAME, max_length=MAX_NAME, scale=3, elem_id="run-name")
            tags = gr.Textbox(label=strings.SET_TAGS, max_length=MAX_PROMPT, scale=3, elem_id="run-tags")
            save = gr.Button(strings.SET_SAVE, size="sm", scale=1, min_width=100, elem_id="save-details")
        with gr.Row():
            reopen = gr.Button(strings.OPEN_PHOTO, size="sm", elem_id="reopen-run")
            page.download_button(lambda session: session.runs.pack(), strings.SET_EXPORT, "export-run")
            upload = gr.UploadButton(strings.SET_IMPORT, file_types=[".zip"], size="sm", elem_id="import-run")
            delete = gr.Button(strings.DELETE, size="sm", elem_id="delete-run")
        confirm = confirmation.build("confirm-delete-run")
    return RunSection(base, name, tags, save, reopen, upload, delete, confirm)
