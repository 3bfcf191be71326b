"""A pilot of four photos whose work takes seconds: a model with random weights and single steps."""

import pytest

from breakascene.pilot.plan import read_plan
from breakascene.toybox.pretraining.pilot_photos import write_pilot_photos

PLAN = """\
name: Small
photos: photos
masks: masks
base: {base}
presets: quick
steps: [1, 1]
prompts: a photo of {{object}} at the beach
inference_steps: 1
prices: {{currency: EUR, gpu_hour: 36, person_hour: 60, minutes_per_photo: 1, reshoot: 20}}
"""


@pytest.fixture
def plan_file(tmp_path, tiny_folder):
    """A plan of four photos."""
    write_pilot_photos(tmp_path / "pilot", 4)
    file = tmp_path / "pilot" / "plan.yaml"
    file.write_text(PLAN.format(base=tiny_folder))
    return file


@pytest.fixture
def plan(plan_file):
    return read_plan(plan_file)
