"""The named endpoints: gradio_client against the running app."""

import re
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from breakascene.data.scene import load_scene
from breakascene.generation import place
from breakascene.generation.generate import GeneratedImage, read_metadata, save_image
from breakascene.studio.screens.select_actions import samples

FEW_CONCEPTS = [2, 1]  # steps of the two phases
ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(address, tmp_path, run):
    """A program that reopens the session in which the run was made."""
    headers = {"X-Session": run[-1]["session"]}
    return Client(address, verbose=False, download_files=str(tmp_path), headers=headers)


@pytest.fixture(scope="module")
def sample():
    return samples()[0]


@pytest.fixture
def photo(sample):
    return handle_file(str(next(sample.glob("img.*"))))


def masks_of(sample):
    return [handle_file(str(path)) for path in sorted(sample.glob("mask*.png"))]


@pytest.fixture(scope="module")
def run(address, sample):
    """All events of a short extraction; the last one has its run."""
    photo = handle_file(str(next(sample.glob("img.*"))))
    job = Client(address, verbose=False).submit(
        photo, masks_of(sample), ["first", "second"], True, "quick", FEW_CONCEPTS, 0, api_name="/extract"
    )
    job.result(timeout=300)
    return job.outputs()


def test_only_these_endpoints_are_offered(client):
    endpoints = set(client.view_api(return_format="dict")["named_endpoints"])
    assert endpoints == {"/segment", "/extract", "/generate", "/sheet", "/edit", "/crop", "/export"}


def test_segment_returns_a_mask_that_contains_the_click(client, sample, photo):
    scene = load_scene(sample)
    ys, xs = np.nonzero(scene.concepts[0].mask)
    x, y = int(np.median(xs)), int(np.median(ys))
    path, scores = client.predict(photo, [[x, y, True]], None, api_name="/segment")
    mask = np.asarray(Image.open(path))
    assert mask.shape == scene.photo.size[::-1] and set(np.unique(mask)) <= {0, 255}
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)


def test_extract_reports_progress_and_ends_with_a_run(run, sample):
    last = run[-1]
    assert (last["step"], last["total"], last["state"]) == (3, 3, "done")
    count = len(list(sample.glob("mask*.png")))
    assert last["handles"] == [*(f"<asset{i}>" for i in range(count)), "<background>"]
    steps = [event["step"] for event in run]
    assert steps == sorted(steps) and all(event["total"] == 3 for event in run)


def test_runs_of_other_sessions_are_not_found_even_by_their_ids(address, run):
    stranger = Client(address, verbose=False)
    for key in (run[-1]["run"], f"../{run[-1]['session']}/runs/{run[-1]['run']}"):
        with pytest.raises(AppError, match="object set was not found"):
            stranger.predict(key, "a photo of <asset0>", 1, 0, 2, 2.0, "", api_name="/generate")


def test_the_names_of_earlier_versions_still_work(address, run):
    assert run[-1]["desk"] == run[-1]["session"]
    client = Client(address, verbose=False, headers={"X-Desk": run[-1]["desk"]})
    assert client.predict(run[-1]["run"], "a photo of <asset0>", 1, 0, 1, 2.0, "", api_name="/generate")


def test_generate_returns_pngs_with_metadata(client, run):
    prompt = "a photo of <asset0> at <background>"
    paths = client.predict(run[-1]["run"], prompt, 2, 7, 2, 2.0, "grass", "tall", api_name="/generate")
    assert [Image.open(path).size for path in paths] == [(192, 320)] * 2
    records = [read_metadata(path) for path in paths]
    assert [
        (r["prompt"], r["seed"] + r["index"], r["num_inference_steps"], r["guidance_scale"], r["negative_prompt"])
        for r in records
    ] == [
        (prompt, 7, 2, 2.0, "grass"),
        (prompt, 8, 2, 2.0, "grass"),
    ]


def test_generation_starts_from_an_image_of_the_client(client, run, photo):
    values = (run[-1]["run"], "a photo of <asset0>", 1, 7, 4, 2.0, "", "square", None, 1.0, photo)
    (path,) = client.predict(*values, 0.5, api_name="/generate")
    assert read_metadata(path)["strength"] == 0.5
    with pytest.raises(AppError, match="The strength 2.0 cannot be used"):
        client.predict(*values, 2.0, api_name="/generate")
    layout = {"objects": [{"handle": "<asset0>", "box": [0, 0.5, 0.5, 1]}]}
    with pytest.raises(AppError, match="exclude each other"):
        client.predict(*values, 0.5, False, layout, api_name="/generate")
    (path,) = client.predict(*values[:-1], None, 0.5, False, layout, api_name="/generate")
    assert read_metadata(path)["layout"]["objects"][0]["box"] == [0, 0.5, 0.5, 1]
    assert read_metadata(path)["strength"] == 0.5
    (path,) = client.predict(*values[:-1], None, None, False, layout, api_name="/generate")
    assert read_metadata(path)["strength"] == place.STRENGTH
    layout["objects"][0]["box"][2] = 7
    for bad, message in (
        (layout, "The box of <asset0> is too small or outside"),
        ("no layout", "it is not an object"),
        ([], "it is not an object"),
        ({}, "The layout has no 'objects'"),
        ({"objects": layout["objects"] * 100}, "is not a list of at most 16 values"),
        ({"objects": [{"handle": 5, "box": [0, 0, 1, 1]}]}, "a handle is not a text"),
    ):
        with pytest.raises(AppError, match=message):
            client.predict(*values[:-1], None, 0.5, False, bad, api_name="/generate")


def test_a_sheet_has_each_object_in_each_style_and_place(client, run):
    styles = ["a photo", "a painting"]
    values = (run[-1]["run"], ["at the beach"], styles, 1, 7, 2, 2.0)
    sheet, paths = client.predict(*values, api_name="/sheet")
    objects = [handle for handle in run[-1]["handles"] if handle != "<background>"]
    prompts = [f"{style} of {handle} at the beach" for style in styles for handle in objects]
    assert [read_metadata(path)["prompt"] for path in paths] == prompts
    assert {read_metadata(path)["seed"] + read_metadata(path)["index"] for path in paths} == {7}
    assert Image.open(sheet).width == 10 + 266 * len(objects)
    for places, sentence in (([], "at least one place or style"), ([3], "lists of texts"), (["x"] * 30, "holds 48")):
        with pytest.raises(AppError, match=sentence):
            client.predict(run[-1]["run"], places, [], api_name="/sheet")


def test_images_are_upscaled_and_cropped_to_formats(client, run, photo, tmp_path):
    values = (run[-1]["run"], "a photo of <asset0>", 1, 7, 2, 2.0, "", "square", None, 1.0, None, 0.7)
    (path,) = client.predict(*values, True, api_name="/generate")
    assert Image.open(path).size == (512, 512) and read_metadata(path)["upscale"]["factor"] == 2
    square, banner, cutout = client.predict(photo, ["square", "banner", "cutout"], False, api_name="/crop")
    assert Image.open(square).width == Image.open(square).height and Image.open(banner).size == (1920, 600)
    assert Image.open(cutout).mode == "RGBA"
    scene = load_scene(samples()[0])
    metadata = {**read_metadata(path), "width": scene.photo.width, "height": scene.photo.height}
    file = handle_file(str(save_image(GeneratedImage(scene.photo, metadata), tmp_path)))  # an image with an object
    square, story = client.predict(file, ["square", "story"], True, api_name="/crop")
    assert Image.open(story).size == (1080, 1920) and Image.open(square).height == scene.photo.height
    assert read_metadata(story)["upscale"]["factor"] == 4 and read_metadata(square)["upscale"]["factor"] == 2
    for image, formats, upscale, sentence in (
        (photo, [], False, "Give the formats as a list"),
        (photo, ["poster"], False, 'no format "poster"'),
        (photo, ["shop"], True, "no settings of this studio"),
        (handle_file(cutout), ["shop"], True, "no settings of this studio"),
    ):
        with pytest.raises(AppError, match=sentence):
            client.predict(image, formats, upscale, api_name="/crop")


def test_the_same_seed_gives_the_same_image(client, run):
    def image(seed):
        (path,) = client.predict(run[-1]["run"], "a photo of <asset0>", 1, seed, 2, 2.0, "", api_name="/generate")
        return np.asarray(Image.open(path)).astype(int)

    assert abs(image(3) - image(3)).max() <= 1 < abs(image(3) - image(4)).max()


def test_an_export_laid_over_the_plain_names_draws_the_same_picture(client, run, tmp_path):
    file = client.predict(run[-1]["run"], "kohya", api_name="/export")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path)
        (folder,) = tmp_path.glob("*-kohya")
        assert all(Path(name).parts[0] == folder.name for name in archive.namelist())
    assert (folder / "README.md").is_file() and len(list((folder / "images").iterdir())) == 3
    assert len(list((folder / "embeddings").iterdir())) == len(run[-1]["handles"])
    (lora,) = folder.glob("*.safetensors")

    def draw(*options):
        values = (run[-1]["run"], "a photo of <asset0>", 1, 5, 2, 2.0, "", "square", *options)
        (path,) = client.predict(*values, api_name="/generate")
        return np.asarray(Image.open(path)).astype(int), read_metadata(path).get("loras")

    plain, no_loras = draw()
    doubled, loras = draw(handle_file(str(lora)), 1.0)
    undone, _ = draw(handle_file(str(lora)), 0.0)
    assert no_loras is None and loras == {lora.stem: 1.0}
    assert abs(undone - plain).max() <= 1 < abs(doubled - plain).max()


@pytest.mark.parametrize(
    ("program", "sentence"), [("fooocus", "no export to that program"), ("comfyui", "ComfyUI cannot open the toybox")]
)
def test_a_wrong_program_is_refused_in_one_sentence(client, run, program, sentence):
    with pytest.raises(AppError, match=sentence):
        client.predict(run[-1]["run"], program, api_name="/export")


def test_a_file_that_is_no_lora_is_refused_in_one_sentence(client, run, tmp_path):
    (tmp_path / "style.safetensors").write_bytes(b"dear")
    values = (run[-1]["run"], "a photo of <asset0>", 1, 5, 2, 2.0, "", "square")
    with pytest.raises(AppError, match=r"style\.safetensors is not a \.safetensors file or is damaged"):
        client.predict(*values, handle_file(str(tmp_path / "style.safetensors")), 1.0, api_name="/generate")


@pytest.mark.parametrize(
    ("run_id", "prompt", "message"),
    [
        ("no-such-run-at-all-here", "a photo of <asset0>", "object set was not found"),
        ("../../../../etc/passwd", "a photo of <asset0>", "object set was not found"),
        (None, "a photo of <asset9>", "<asset9> is an unknown handle"),
        (None, "   ", "There is no prompt yet"),
        (None, "word " * 200, "too long"),
    ],
)
def test_generate_refuses_bad_input(client, run, run_id, prompt, message):
    with pytest.raises(AppError, match=message):
        client.predict(run_id or run[-1]["run"], prompt, 1, 0, 2, 2.0, "", api_name="/generate")


@pytest.mark.parametrize(
    ("points", "box", "message"),
    [
        ([[9999, 5, True]], None, "lies outside the photo"),
        ([], None, "No object is marked"),
        ("nonsense", None, "Give the points as"),
        ([[5, 5, True]], [1, 2, 3], "Give the box as"),
    ],
)
def test_segment_refuses_bad_input(client, photo, points, box, message):
    with pytest.raises(AppError, match=message):
        client.predict(photo, points, box, api_name="/segment")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("letter.png", b"Dear reader, this is not an image.", "not a readable image"),
        ("cut.jpg", None, "damaged or truncated"),
    ],
)
def test_bad_uploads_are_refused(client, sample, tmp_path, name, content, message):
    bad = tmp_path / name
    if content is None:
        load_scene(sample).photo.save(bad)
        content = bad.read_bytes()[:-400]
    bad.write_bytes(content)
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(str(bad)), [[5, 5, True]], None, api_name="/segment")


@pytest.mark.parametrize(
    ("masks", "preset", "steps", "message"),
    [
        (0, "quick", FEW_CONCEPTS, "There is no mask"),
        (1, "grand", FEW_CONCEPTS, 'no preset "grand"'),
        (1, "quick", [0, 0], "Give a number of steps"),
        (1, "quick", [10**9, 1], "Give a number of steps"),
        (1, "quick", "many", "Give the steps as"),
    ],
)
def test_extract_refuses_bad_input(client, sample, photo, masks, preset, steps, message):
    with pytest.raises(AppError, match=message):
        client.predict(photo, masks_of(sample)[:masks], ["toy"], False, preset, steps, 0, api_name="/extract")


def test_local_files_cannot_be_named_as_uploads(client):
    stolen = {"path": __file__, "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError):
        client.predict(stolen, [[5, 5, True]], None, api_name="/segment")


def test_local_files_are_not_served_and_large_uploads_are_refused(address):
    for path in (__file__, "/etc/passwd", f"{address}/../../etc/passwd"):
        assert httpx.get(f"{address}/gradio_api/file={path}").status_code in (403, 404)
    large = {"files": ("photo.png", bytes(41 * 2**20))}
    assert httpx.post(f"{address}/gradio_api/upload", files=large).status_code == 413


def test_the_example_of_the_docs_runs(address, monkeypatch, capsys):
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "gradio_client" in code)
    for part, here in (
        ("http://127.0.0.1:7860", address),
        ('"quick", None', f'"quick", {FEW_CONCEPTS}'),
        ("20, 1.5", "2, 1.5"),
    ):
        assert part in code
        code = code.replace(part, here)
    monkeypatch.chdir(ROOT)
    exec(code, {})
    assert capsys.readouterr().out.count(".png") == 4


def test_edit_repaints_a_region_and_keeps_the_rest(client, run, sample, photo):
    def edit(photo, prompt, mask=None, box=None, count=1, strength=1, consent=None):
        options = (count, 0, 2, 0, "", strength, consent)
        return client.predict(run[-1]["run"], photo, prompt, mask, box, *options, api_name="/edit")

    scene = load_scene(sample)
    first, second = edit(photo, "a photo of <asset0>", box=[20, 30, 120, 130], count=2)
    before, after = np.asarray(scene.photo), np.asarray(Image.open(second))
    outside = np.ones(before.shape[:2], bool)
    outside[30:130, 20:120] = False
    assert (before[outside] == after[outside]).all() and (before != after).any()
    mask, inside = masks_of(sample)[0], scene.concepts[0].mask
    (again,) = edit(handle_file(first), "a photo of <asset1>", mask)
    assert (np.asarray(Image.open(again))[~inside] == np.asarray(Image.open(first))[~inside]).all()
    assert [one["prompt"] for one in read_metadata(again)["edit"]["before"]] == ["a photo of <asset0>"]
    box = [0, 0, 99, 99]
    for arguments, message in (
        ({}, "either as a mask or as a box"),
        ({"mask": mask, "box": box}, "either as a mask or as a box"),
        ({"box": [0, 0, 9]}, "Give the box as"),
        ({"box": [0, 0, 999, 9]}, "outside the photo, which is 256 × 256 pixels"),
        ({"box": [9, 9, 9, 99]}, "The region is empty"),
        ({"box": box, "strength": 2}, "The strength 2.0 cannot be used"),
        ({"box": box, "consent": {"shown": "yes"}}, "consent"),
        ({"box": box, "prompt": "a photo of <asset7>"}, "<asset7>"),
    ):
        with pytest.raises(AppError, match=message):
            edit(**{"photo": photo, "prompt": "a photo of <asset0>", **arguments})
