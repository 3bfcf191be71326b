"""The blind comparison: a page on which colleagues vote without knowing presets or measurements, and its count.

With one preset, each question shows a photo beside one image: would you use it? With several, a photo beside the images
of two presets, in random order: which one would you use?
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from statistics import mean

from breakascene.data.validation import checked_dict, checked_text, parse_json
from breakascene.errors import UserError
from breakascene.files import file_stem
from breakascene.generation.generate import readable_prompt
from breakascene.pilot.embedding import data_uri
from breakascene.pilot.intervals import Interval, mean_of_shares
from breakascene.pilot.page_style import static, styled
from breakascene.pilot.plan import Plan
from breakascene.pilot.run import PHOTOS, read_results
from breakascene.pilot.store import RESULT, Store
from breakascene.pilot.summary import Summary
from breakascene.pilot.task import DONE
from breakascene.rendering import html

FOLDER, KEY, VOTES = "vote", "vote/key.json", "votes"
MOST_QUESTIONS = 40  # of one page: about five minutes
ANSWERS = {1: ("yes", "no"), 2: ("left", "right", "both", "neither")}  # by the number of images
LABELS = {"yes": "Yes", "no": "No", "left": "Left", "right": "Right", "both": "Both", "neither": "Neither"}


@dataclass(frozen=True)
class Question:
    """A question.

    Args:
        id: Its name on the page, which says nothing about the rest.
        photo: Id of the photo.
        prompt: With the names of the objects.
        presets: Of the images, from left to right.
        files: The images in the result folders of these presets.
        keys: Of the results that the images are from; empty in older keys.
    """

    id: str
    photo: str
    prompt: str
    presets: tuple[str, ...]
    files: tuple[str, ...]
    keys: tuple[str, ...] = ()


def write_vote(plan: Plan, store: Store, seed: int = 0) -> int:
    """Write the page vote/index.html, a single file to send to colleagues, and the key to it; return the questions.

    The votes of an earlier page with other questions are removed.

    Raises:
        UserError: If there are no images.
    """
    results = [one for one in read_results(store) if one["state"] == DONE]
    questions = _questions(plan, results, random.Random(seed))
    if not questions:
        raise UserError(f"{store.address} has no images to vote on: run pilot run first.")
    shown = "".join(_shown(store, question, number, len(questions)) for number, question in enumerate(questions, 1))
    page = _page(plan, shown, _page_id(questions)).encode()
    key = json.dumps([asdict(question) for question in questions], indent=1).encode()
    earlier = store.read(KEY)
    store.write_folder(FOLDER, {"index.html": page, "key.json": key})
    if earlier != key:
        store.remove(VOTES)
    return len(questions)


def add_votes(store: Store, data: bytes, name: str) -> str:
    """Keep the votes that a colleague has saved on the page; return whose they are. Later ones replace earlier ones.

    Raises:
        UserError: If the file is not of this pilot's page.
    """
    questions = _read_key(store)
    try:
        value = checked_dict(parse_json(data), "it")
        voter = checked_text(value["voter"], 60, "its voter")
        answers = checked_dict(value["answers"], "its answers")
    except (ValueError, KeyError) as error:
        raise UserError(f"{name} is not a file of the vote page: save the votes there again.") from error
    known = {question.id: ANSWERS[len(question.presets)] for question in questions}
    if value.get("page") != _page_id(questions):
        raise UserError(f"{name} is of another vote page: vote on {FOLDER}/index.html of this pilot.")
    if wrong := next((one for one, answer in answers.items() if answer not in known.get(one, ())), None):
        raise UserError(
            f'{name} has an answer to "{wrong[:20]}" that the page does not offer: save the votes there again.'
        )
    store.write_file(f"{VOTES}/{file_stem(voter, 'voter')}.json", json.dumps(answers).encode())
    return voter


def counted_votes(store: Store, summaries: Sequence[Summary]) -> dict[str, Interval]:
    """Return the share of images that colleagues would use, with intervals in which each photo counts once.

    With one preset also by what the thresholds say, which shows whether they are well chosen; with several by preset.
    Empty without votes.
    """
    votes = votes_by_image(store)
    if not votes:
        return {}
    measured = {
        (photo.result["photo"], photo.result["preset"], row["file"]): usable
        for summary in summaries
        for photo in summary.done
        for row, usable in zip(photo.result["images"], photo.usable, strict=False)
    }
    shares: dict[str, dict[str, list[bool]]] = {}  # group → photo → votes
    for question in _read_key(store):
        for preset, file in zip(question.presets, question.files, strict=True):
            own = votes.get((question.photo, preset, file), [])
            groups = [f"preset {preset}" if len(question.presets) > 1 else "would use the image"]
            usable = measured.get((question.photo, preset, file))
            if usable is not None and len(question.presets) == 1:
                groups.append("… of those that pass the thresholds" if usable else "… of those that do not pass")
            for group in groups:
                shares.setdefault(group, {}).setdefault(question.photo, []).extend(own)
    found = {
        group: mean_of_shares([mean(own) for own in photos.values() if own]) for group, photos in sorted(shares.items())
    }
    return {group: interval for group, interval in found.items() if interval}


def votes_by_image(store: Store) -> dict[tuple[str, str, str], list[bool]]:
    """Return for each image (photo, preset, file) with votes whether each colleague would use it.

    Images of a photo that was processed again since the vote are left out: the votes were on other images.
    """
    votes = [json.loads(data) for name, data in store.files(VOTES).items() if name.endswith(".json")]
    found = {}
    for question in _read_key(store) if votes else ():
        given = [answers[question.id] for answers in votes if question.id in answers]
        keys = question.keys or (None,) * len(question.presets)
        for place, (preset, file, key) in enumerate(zip(question.presets, question.files, keys, strict=True)):
            result = store.read_json(f"{PHOTOS}/{question.photo}/{preset}/{RESULT}") or {}
            if key not in (None, result.get("key")):
                continue
            own = [answer in ("yes", "both", ("left", "right")[place]) for answer in given]
            if own:
                found[question.photo, preset, file] = own
    return found


def vote_count(store: Store) -> int:
    """Return how many colleagues have voted."""
    return sum(name.endswith(".json") for name in store.files(VOTES))


def _questions(plan: Plan, results: Sequence[dict], rng: random.Random) -> list[Question]:
    """Choose one image, or one pair, of each photo."""
    by_photo: dict[str, list[dict]] = {}
    for result in results:
        by_photo.setdefault(result["photo"], []).append(result)
    questions = []
    for photo, own in by_photo.items():
        pair = rng.sample(own, 2) if len(own) > 1 else own if len(plan.presets) == 1 else []
        if not pair:
            continue  # a preset of this photo is missing
        index = rng.randrange(min(len(result["images"]) for result in pair))
        rows = [result["images"][index] for result in pair]
        prompt = readable_prompt(rows[0] | {"handles": {one["handle"]: one["name"] for one in pair[0]["objects"]}})
        files, presets = tuple(row["file"] for row in rows), tuple(result["preset"] for result in pair)
        keys = tuple(result["key"] for result in pair)
        name = hashlib.sha256(f"{rng.random()} {photo} {presets} {files} {keys}".encode()).hexdigest()[:12]
        questions.append(Question(name, photo, prompt, presets, files, keys))
    rng.shuffle(questions)
    return questions[:MOST_QUESTIONS]


def _shown(store: Store, question: Question, number: int, total: int) -> str:
    folder = f"{PHOTOS}/{question.photo}/{question.presets[0]}"
    photo = store.read(f"{folder}/photo.jpg")
    figures = [f'<figure><img src="{data_uri(photo, 300)}" alt=""><figcaption>The photo</figcaption></figure>']
    several = len(question.presets) > 1
    for place, (preset, file) in enumerate(zip(question.presets, question.files, strict=True)):
        data = store.read(f"{PHOTOS}/{question.photo}/{preset}/{file}")
        caption = ("Left", "Right")[place] if several else "The image"
        figures.append(f'<figure><img src="{data_uri(data, 300)}" alt=""><figcaption>{caption}</figcaption></figure>')
    ask = "Which image would you use?" if several else "Would you use this image of the object?"
    buttons = "".join(
        f'<label><input type="radio" name="{question.id}" value="{answer}"> {LABELS[answer]}</label>'
        for answer in ANSWERS[len(question.presets)]
    )
    return f"""<fieldset class="question" data-id="{question.id}"><legend>{number} of {total}</legend>
<div class="pair">{"".join(figures)}</div><p class="faint">Asked for: {escape(question.prompt)}</p>
<p><b>{ask}</b></p><div class="choices">{buttons}</div></fieldset>"""


def _page(plan: Plan, shown: str, page_id: str) -> str:
    body = f"""<p>Look at each photo and the generated image beside it, and answer without thinking long.
Your answers stay on this page until you save them as a file; send that file back.</p>
<form id="vote" data-page="{page_id}">{shown}
<div class="bar"><label>Your name <input type="text" id="voter" maxlength="60" autocomplete="name"></label>
<button id="save" type="button">Save votes</button><span id="state" role="status"></span></div></form>
<script>{static("save.js")}{static("vote.js")}</script>"""
    return html.page(f"{plan.name}: which images would you use?", styled(body, "questions.css"))


def _page_id(questions: Sequence[Question]) -> str:
    return hashlib.sha256("".join(question.id for question in questions).encode()).hexdigest()[:12]


def _read_key(store: Store) -> list[Question]:
    data = store.read(KEY)
    if not data:
        raise UserError(f"{store.address} has no vote page: make it with pilot vote.")
    return [
        Question(
            *(one[key] for key in ("id", "photo", "prompt")),
            *(tuple(one.get(key, ())) for key in ("presets", "files", "keys")),
        )
        for one in json.loads(data)
    ]
