"""A/B: variants of a pilot for ad platforms, and the comparison of a campaign's results."""

import csv
import hashlib

import pytest
from PIL import Image
from typer.testing import CliRunner

from breakascene.cli.app import app
from breakascene.errors import UserError
from breakascene.generation.generate import GeneratedImage, read_metadata
from breakascene.pilot.ab import Variant, compare, describe, read_results_csv
from breakascene.pilot.run import run, sequential
from breakascene.pilot.store import Store
from breakascene.pilot.variants import _save, read_variants

HEAD = "variant,impressions,clicks,conversions\n"


def test_a_large_difference_wins_and_a_small_one_names_what_is_missing():
    clicks, conversions = compare([Variant("beach", 10_000, 300, 30), Variant("snow", 10_000, 200, 21)])
    assert clicks.winner == "beach" and clicks.p_value < 1e-4 and list(clicks.rates) == ["beach", "snow"]
    # Wilson's interval of 300 of 10,000, from Newcombe's formula
    assert (clicks.rates["beach"].low, clicks.rates["beach"].high) == (
        pytest.approx(0.02683, abs=1e-5),
        pytest.approx(0.03353, abs=1e-5),
    )
    assert conversions.winner == "" and "not decided" in describe(conversions)
    (one,) = compare([Variant("a", 1000, 30, None), Variant("b", 1000, 25, None)])
    assert not one.winner and f"about {one.needed:,} more impressions" in describe(one)
    # With so many more at the same rates, it is decided
    total = 1000 + one.needed
    (again,) = compare(
        [Variant("a", total, round(0.03 * total), None), Variant("b", total, round(0.025 * total), None)]
    )
    assert again.winner == "a"
    (equal,) = compare([Variant("a", 100, 3, None), Variant("b", 100, 3, None)])
    assert equal.needed is None and "do not differ" in describe(equal)
    (empty,) = compare([Variant("a", 100, 3, None), Variant("b", 0, 0, None)])
    assert "no impressions" in describe(empty)
    # Of three, the first has to beat both others
    (three,) = compare([Variant("a", 5000, 300, None), Variant("b", 5000, 290, None), Variant("c", 5000, 200, None)])
    assert not three.winner


def test_results_are_added_up_and_printed(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text(HEAD + "a,1000,30,3\nb,2000,20,1\na,1000,30,3\n", encoding="utf-8-sig")
    assert read_results_csv(file) == [Variant("a", 2000, 60, 6), Variant("b", 2000, 20, 1)]
    printed = CliRunner().invoke(app, ["pilot", "ab", str(file)]).stdout
    assert "a: 3.000% (" in printed and "clicks of impressions: a wins" in printed
    file.write_text("Variant;Impressions;Clicks\na;10;1\nb;10;1\n")
    assert read_results_csv(file)[0] == Variant("a", 10, 1, None)
    file.write_bytes(b"variant\timpressions\tclicks\ra\t10\t1\rb\t10\t1\r")
    assert read_results_csv(file)[1] == Variant("b", 10, 1, None)


@pytest.mark.parametrize(
    "text, place",
    [
        (HEAD + "a,100,10,1\nb,100,101,1\n", "results.csv, line 3: 101 clicks are more than 100 impressions"),
        (HEAD + "a,100,10,11\nb,100,10,1\n", "line 2: 11 conversions are more than 10 clicks"),
        (HEAD + 'a,"1,000",10,1\nb,100,10,1\n', 'line 2: impressions is "1,000"'),
        (HEAD + "a,100,,1\nb,100,10,1\n", 'line 2: clicks is ""'),
        (HEAD + ",100,10,1\n", "line 2: the variant has no name"),
        (HEAD + "a,100,10,1\n", "has 1 variants"),
        (HEAD + "".join(f"{i},9,1,1\n" for i in range(60)), "has 60 variants"),
        ("variant,impressions,clicks,clicks\na,9,1,1\n", "line 1: the column clicks stands there twice"),
        ("variant,clicks\na,1\n", "line 1: the column impressions is missing"),
        ("", "line 1: the column variant is missing"),
    ],
)
def test_mistakes_in_the_results(tmp_path, text, place):
    (tmp_path / "results.csv").write_text(text)
    result = CliRunner().invoke(app, ["pilot", "ab", str(tmp_path / "results.csv")])
    assert result.exit_code == 2 and place in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text, place",
    [
        ("variants:\n- {name: a}", "line 2: there are 1 variants"),
        ("variants:\n- {name: a}\n- {name: A}", "line 2: the name a is used twice"),
        ("variants:\n- {name: summer sale}\n- {name: summer-sale}", "line 2: the name summer sale is used twice"),
        ("variants:\n- {name: a}\n- {name: b, crop: wide}", "line 3: the crop"),
        ("variants:\n- {name: a}\n- {name: 山}", "line 3: the name"),
        ("variants:\n- {name: a}\n- {place: b}", "line 3: this variant has no name"),
        ("photos: x", "line 1: there are no variants"),
    ],
)
def test_mistakes_in_the_variants(tmp_path, text, place):
    (tmp_path / "v.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"v.yaml, {place}"):
        read_variants(tmp_path / "v.yaml")


def test_photos_of_similar_names_have_files_of_their_own(tmp_path):
    (tmp_path / "v.yaml").write_text("variants:\n- {name: a}\n- {name: b}\nphotos: [IMG_1, IMG-1, IMG_1]\n")
    variants, photos = read_variants(tmp_path / "v.yaml")
    assert photos == ["IMG_1", "IMG-1"]
    generated = GeneratedImage(Image.new("RGB", (8, 8)), {"prompt": "a photo", "seed": 0, "index": 0})
    rows = [_save(generated, photo, variants[0], tmp_path) for photo in photos]
    assert rows[0]["file"] == "img-1_a_8x8_s0.png" != rows[1]["file"]
    assert all((tmp_path / row["file"]).is_file() for row in rows)


def test_variants_differ_only_in_what_the_plan_says(plan, tmp_path):
    store, seen = Store(tmp_path / "results"), []
    run(plan, store, sequential(plan.base), stop=lambda: len(seen) > 1, on_progress=seen.append)
    text = "variants:\n- {name: Beach, place: at the beach}\n- {name: snow 2, style: a painting, crop: 9:16}\n"
    (tmp_path / "v.yaml").write_text(text + "photos: ['001']\n")
    command = ["pilot", "variants", str(tmp_path / "v.yaml"), "--results", str(tmp_path / "results")]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "ads"), "--seed", "3"])
    assert result.exit_code == 0, result.output
    with open(tmp_path / "ads" / "variants.csv", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["001_beach_128x128_s3.png", "001_snow-2_90x160_s3.png"]
    assert [row["prompt"] for row in rows] == [
        "a photo of <asset0> and <asset1> at the beach",
        "a painting of <asset0> and <asset1>",
    ]
    for row in rows:
        file = tmp_path / "ads" / row["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row["hash"]
        assert "x".join(map(str, Image.open(file).size)) == row["size"] and read_metadata(file)["seed"] == 3
    (tmp_path / "v.yaml").write_text(text + "photos: ['009']\n")
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "more")])
    assert result.exit_code == 2 and "no finished photo 009" in result.stderr
