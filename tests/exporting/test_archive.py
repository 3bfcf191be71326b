"""Run files: packing, unpacking, and invalid files of every kind."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from helpers.files import listing
from helpers.runs import assert_same, short
from safetensors.torch import load, save

from breakascene.errors import UserError
from breakascene.exporting.archive import pack, unpack
from breakascene.models.concepts import Concepts
from breakascene.training.loop import run_extraction


@pytest.fixture(scope="module")
def packed(tiny_base, scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    concepts = run_extraction(scene, tiny_base, short(tiny_base), folder / "run")
    (folder / "run" / "thumbs").mkdir()
    (folder / "run" / "thumbs" / "0.png").write_bytes(b"a thumbnail of the studio")
    pack(folder / "run", folder / "run.zip")
    return folder / "run.zip", concepts


def modified(packed, **changes) -> io.BytesIO:
    """The packed run with entries replaced, added, or left out (None)."""
    with zipfile.ZipFile(packed[0]) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= {name.replace("__", "/").replace("_DOT_", "."): value for name, value in changes.items()}
    return make_zip(entries)


def make_zip(entries: dict) -> io.BytesIO:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in entries.items():
            if value is not None:
                archive.writestr(name, value)
    data.seek(0)
    return data


def manifest_with(packed, **changes) -> bytes:
    with zipfile.ZipFile(packed[0]) as archive:
        return json.dumps(json.loads(archive.read("manifest.json")) | changes).encode()


def tensors_with(packed, change) -> bytes:
    with zipfile.ZipFile(packed[0]) as archive:
        tensors = load(archive.read("concepts.safetensors"))
    return save(change(tensors))


def test_round_trip(packed, tiny_base, tmp_path):
    file, concepts = packed
    with zipfile.ZipFile(file) as archive:
        assert {"manifest.json", "scene/img.png"} < set(archive.namelist())
        assert not any("thumbs" in name for name in archive.namelist())
    unpack(file, tiny_base, tmp_path / "run")
    again = Concepts.load(tmp_path / "run")
    assert_same(again, concepts)
    assert again.id == concepts.id and again.leak == concepts.leak and again.settings == concepts.settings
    with again.applied(tiny_base):
        pass


def test_other_folders_are_not_packed(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        pack(tmp_path, tmp_path / "run.zip")
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused_before_they_are_read(packed, tiny_base, tmp_path, compression):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        archive.writestr("manifest.json", "{}" * 100)
    content = bytearray(data.getvalue())
    content[40:60] = bytes(20)  # damaged: each compression has errors of its own
    with pytest.raises(UserError, match="compressed"):
        unpack(io.BytesIO(content), tiny_base, tmp_path / "run")
    assert listing(tmp_path) == {}


def with_nan(tensors):
    tensors["handles"][0, 0] = float("nan")
    return tensors


def wrong_dim(tensors):
    return tensors | {"handles": torch.zeros(len(tensors["handles"]), 7)}


def other_layer(tensors):
    return tensors | {"unet.no_such.weight.A": torch.zeros(2, 2), "unet.no_such.weight.B": torch.zeros(2, 2)}


def single_factor(tensors):
    name = next(key for key in tensors if key.endswith(".A"))
    return {key: value for key, value in tensors.items() if key != name}


def embeddings_in_float16(tensors):
    return {key: value.half() for key, value in tensors.items()}


def enormous_delta(tensors):
    name = next(key for key in tensors if key.endswith(".A"))
    return tensors | {name: torch.full(tensors[name].shape, 1e38), f"{name[:-2]}.B": tensors[f"{name[:-2]}.B"] + 1}


def enormous_embeddings(tensors):
    return tensors | {"handles": torch.full_like(tensors["handles"], 1e38)}


BAD_TENSORS = {
    "not finite": with_nan,
    "do not fit": wrong_dim,
    "not fit the model": other_layer,
    "fit the model": single_factor,
    "wrong type": embeddings_in_float16,
    "weights are too large": enormous_delta,
    "are too large": enormous_embeddings,
}
BAD_ENTRIES = {
    "do not belong to a run": {"evil_DOT_py": b"print()"},
    "belong to a run": {"scene__..__..__out_DOT_png": b"x"},
    "it holds files": {"concepts_DOT_pkl": pickle.dumps({"a": 1})},
    "safetensors format": {"concepts_DOT_safetensors": pickle.dumps({"a": 1})},
    "not an object": {"manifest_DOT_json": b"[1, 2]"},
    "needs img": {"scene__img_DOT_png": None},
    "it is damaged": {"losses_DOT_json": None},
    "not those of a run": {"losses_DOT_json": b"[3]"},
    "JSON is too large": {"losses_DOT_json": b"[" + b"{}," * 2_000_000 + b"{}]"},
    "larger than 32 MB": {"losses_DOT_json": b" " * 33_000_000 + b"[]"},
    "nested too deeply": {"losses_DOT_json": b"[" * 50_000 + b"]" * 50_000},
    "too long or not finite": {"losses_DOT_json": b'[{"total": ' + b"9" * 400 + b"}]"},
    "damaged or": {"losses_DOT_json": b"\xff\xfe"},
    "larger than 0.064 MB": {"scene__names_DOT_txt": b"a\n" * 40_000},
}
BAD_MANIFESTS = {
    "another model": {"fingerprint": "0" * 16},
    "do not match": {"names": ["<b>", "x"]},
    "setting rank": {"settings": {"rank": "a" * 99}},
    "steps does not have two": {"settings": {"steps": []}},
    "setting seed|its seed": {"settings": {"seed": -1}},
    "setting handle_lr": {"settings": {"handle_lr": [1, 2]}},
    "setting lora_layers": {"settings": {"lora_layers": [3]}},
    "number of steps": {"steps": "many"},
    "list of names": {"names": {"a": 1}},
    "a leak": {"leak": {"<asset0>": 1e30}},
    "another version": {"format": 99},
}


@pytest.mark.parametrize("message", [*BAD_TENSORS, *BAD_ENTRIES, *BAD_MANIFESTS])
def test_invalid_files_are_refused_and_leave_nothing(packed, tiny_base, tmp_path, message):
    if message in BAD_TENSORS:
        changes = {"concepts_DOT_safetensors": tensors_with(packed, BAD_TENSORS[message])}
    elif message in BAD_ENTRIES:
        changes = BAD_ENTRIES[message]
    else:
        changes = {"manifest_DOT_json": manifest_with(packed, **BAD_MANIFESTS[message])}
    with pytest.raises(UserError, match=message):
        unpack(modified(packed, **changes), tiny_base, tmp_path / "run")
    assert listing(tmp_path) == {}


def test_no_zip_and_zip_bomb(packed, tiny_base, tmp_path):
    with pytest.raises(UserError, match="damaged or not a run file"):
        unpack(io.BytesIO(b"hello"), tiny_base, tmp_path / "run")
    cut = io.BytesIO(packed[0].read_bytes()[:-200])
    with pytest.raises(UserError, match="damaged or not a run file"):
        unpack(cut, tiny_base, tmp_path / "run")
    bomb = make_zip({"losses.json": bytes(401_000_000)})
    assert len(bomb.getvalue()) < 1_000_000
    with pytest.raises(UserError, match="larger than 400 MB"):
        unpack(bomb, tiny_base, tmp_path / "run")
    assert listing(tmp_path) == {}
