"""What step 1 says: what to do next, and what is known of the selected objects."""

from breakascene.errors import UserError
from breakascene.evaluation.advice import scene_advice
from breakascene.studio import loaded, strings
from breakascene.studio.screens import charts
from breakascene.studio.state import selection as selections
from breakascene.studio.state.selection import BOX_TOOLS, BRUSHES, Selection


def hint(selection: Selection, tool: str = "include") -> str:
    """What to do next with the tool that is chosen."""
    if selection.photo is None:
        return strings.HINT_START
    obj = selection.active_object
    name = obj.name or strings.OBJECT_NUMBER.format(n=selection.active + 1)
    if tool in BOX_TOOLS:
        return strings.HINT_CORNER if selection.corner else strings.HINTS[tool].format(object=name)
    if obj.empty:
        return strings.HINTS["paint" if tool == "paint" else "include"].format(object=name)
    if obj.struggles and tool not in BRUSHES:
        larger = f" {strings.HINT_LARGER_SEGMENTER}" if loaded.segmenter().refines else ""
        return strings.HINT_STRUGGLES + larger
    return strings.HINT_SELECTED if tool == "include" else strings.HINTS[tool].format(object=name)


def about(selection: Selection) -> str:
    """Each object's share of the photo, and advice on the selection, as HTML."""
    selection = selections.subsampled(selection) if selection.photo else selection
    objects = [(i, obj) for i, obj in enumerate(selection.objects) if not obj.empty]
    if not objects:
        return ""
    shares = " · ".join(f"{i + 1} {obj.name}".strip() + f": {obj.mask.mean():.1%}" for i, obj in objects)
    try:
        advice = scene_advice(selections.to_scene(selection))
    except UserError as error:
        advice = error.args
    return f'<p class="caption">{charts.escape(strings.MASK_AREAS.format(shares=shares))}</p>{charts.notices(advice)}'
