"""The visual theme: one accent color, system fonts, light and dark."""

from pathlib import Path

import gradio as gr

# Named fonts only: a GoogleFont would be loaded from outside.
THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.teal,
    secondary_hue=gr.themes.colors.teal,
    neutral_hue=gr.themes.colors.stone,
    radius_size=gr.themes.sizes.radius_md,
    text_size=gr.themes.sizes.text_md,
    font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
    font_mono=["ui-monospace", "Consolas", "monospace"],
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    block_background_fill="white",
    block_background_fill_dark="*neutral_900",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    button_border_width="1px",
    button_large_text_weight="500",
    button_secondary_background_fill="*neutral_100",
    button_secondary_background_fill_hover="*neutral_200",
    button_secondary_border_color="*neutral_300",
    button_secondary_background_fill_dark="*neutral_800",
    button_secondary_background_fill_hover_dark="*neutral_700",
    button_secondary_border_color_dark="*neutral_700",
    checkbox_label_background_fill_dark="*neutral_800",
    checkbox_label_background_fill_hover_dark="*neutral_700",
    input_background_fill_dark="*neutral_800",
    checkbox_label_background_fill="*neutral_100",
    checkbox_label_background_fill_hover="*neutral_200",
    block_shadow="none",
    block_border_width="1px",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    button_primary_text_color="white",
)

CSS = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).with_name("static").glob("*.css")))
