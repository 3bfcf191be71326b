"""Break-A-Scene: extract the objects of one photo as handles, and generate them in new scenes.

The names below are the public API. Each is imported on first use, so that `import breakascene` stays cheap.
"""

import logging
from importlib import import_module

from breakascene.paths import set_missing_user

set_missing_user()  # before torch is imported

# diffusers imports bitsandbytes, which warns on some CPUs about kernels that are not used here.
if (_bitsandbytes := logging.getLogger("bitsandbytes")).level == logging.NOTSET:
    _bitsandbytes.setLevel(logging.ERROR)

_EXPORTS = {  # name: module that defines it
    # Scenes and masks
    "Scene": "breakascene.data.scene",
    "Consent": "breakascene.data.consent",
    "declare_consent": "breakascene.data.consent",
    "make_scene": "breakascene.data.scene",
    "innermost_on_top": "breakascene.data.scene",
    "read_scene": "breakascene.data.scene",
    "read_photo": "breakascene.data.image_io",
    "read_mask": "breakascene.data.image_io",
    "load_scene": "breakascene.data.scene",
    "save_scene": "breakascene.data.scene",
    "Segmenter": "breakascene.segmentation.segmenter",
    # Base models
    "Base": "breakascene.models.base",
    "load_base": "breakascene.models.loading",
    # Extraction
    "Settings": "breakascene.training.settings",
    "preset": "breakascene.training.settings",
    "adapted": "breakascene.training.settings",
    "StepEvent": "breakascene.training.events",
    "extract": "breakascene.training.loop",
    "run_extraction": "breakascene.training.loop",
    "Concepts": "breakascene.models.concepts",
    "combine": "breakascene.models.combined",
    "load_run": "breakascene.models.grouped",
    # Generation
    "GeneratedImage": "breakascene.generation.generate",
    "start_from": "breakascene.generation.variations",
    "generate": "breakascene.generation.generate",
    "edit": "breakascene.generation.edit",
    "Layout": "breakascene.generation.layout",
    "LayoutBox": "breakascene.generation.layout",
    "cutouts_of": "breakascene.generation.place",
    "place": "breakascene.generation.place",
    "box_region": "breakascene.generation.region",
    "upscale": "breakascene.generation.upscale",
    "save_image": "breakascene.generation.generate",
    "read_metadata": "breakascene.generation.generate",
    # Provenance
    "Verification": "breakascene.provenance.credentials",
    "verify": "breakascene.provenance.credentials",
    # Evaluation
    "FeatureExtractor": "breakascene.evaluation.judges",
    "Score": "breakascene.evaluation.metrics",
    "evaluate": "breakascene.evaluation.metrics",
    "load_feature_extractor": "breakascene.evaluation.judges",
    "load_judges": "breakascene.evaluation.judges",
    # Errors
    "UserError": "breakascene.errors",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    """Import a public name on first use (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
