"""The pilot's report: index.html, photos.csv, images.csv and report.json beside the results."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from breakascene.errors import UserError
from breakascene.pilot import report_page
from breakascene.pilot.plan import Plan
from breakascene.pilot.run import PHOTOS, read_results, read_status
from breakascene.pilot.store import Store
from breakascene.pilot.summary import PhotoSummary, Summary, summarize
from breakascene.pilot.vote import counted_votes

FOLDER = "report"


def write_report(plan: Plan, store: Store) -> list[Summary]:
    """Write the report of the photos that are done, also of a run that has not finished.

    Args:
        plan: Its thresholds and prices may differ from those of the run.
        store: The results.

    Raises:
        UserError: If there are no results, or the report cannot be written.
    """
    status, results = read_status(store), read_results(store)
    planned = {photo.id for photo in plan.photos}
    results = [result for result in results if result["photo"] in planned]
    summaries = summarize(plan, results)
    if not summaries:
        raise UserError(
            f"{store.address} has no photo of this plan: run pilot run first, or give the plan of that run."
        )
    votes = counted_votes(store, summaries)
    images = {
        f"{photo.result['photo']}/{photo.result['preset']}": store.files(
            f"{PHOTOS}/{photo.result['photo']}/{photo.result['preset']}"
        )
        for photo in report_page.shown_photos(summaries[0])
    }
    missing = status["total"] - len(results)
    files = {
        "index.html": report_page.page(plan, summaries, images, missing, votes).encode(),
        "photos.csv": _csv(_photo_rows(summaries)),
        "images.csv": _csv(_image_rows(summaries)),
        "report.json": json.dumps(_json(plan, summaries, missing, votes), indent=1).encode(),
    }
    store.write_folder(FOLDER, files)
    return summaries


def _photo_rows(summaries: Sequence[Summary]) -> list[dict]:
    return [_photo_row(photo) for summary in summaries for photo in summary.photos]


def _photo_row(photo: PhotoSummary) -> dict:
    result = photo.result
    seconds = result["seconds"]
    return {
        "photo": result["photo"],
        "preset": result["preset"],
        "state": result["state"],
        "works": photo.works,
        "objects": ", ".join(one["name"] for one in result.get("objects", [])),
        "masks": result["masks"],
        "images": len(result.get("images", [])),
        "usable": sum(photo.usable) if photo.works is not None else None,
        "identity": _rounded(photo.identity),
        "prompt": _rounded(photo.prompt),
        "seconds_extraction": seconds.get("extraction"),
        "seconds_images": seconds.get("images"),
        "seconds": seconds["total"],
        "cost": _rounded(photo.cost),
        "megabytes": _rounded(result.get("bytes", 0) / 1e6),
        "memory_megabytes": _rounded(result.get("peak_bytes", 0) / 1e6),
        "reasons": " ".join(reason.sentence for reason in photo.reasons),
        "remedies": " ".join(dict.fromkeys(reason.remedy for reason in photo.reasons if reason.remedy)),
    }


def _image_rows(summaries: Sequence[Summary]) -> list[dict]:
    rows = []
    for photo in (photo for summary in summaries for photo in summary.done):
        usable = photo.usable or (None,) * len(photo.result["images"])
        for row, passed in zip(photo.result["images"], usable, strict=True):
            identity = row["identity"].values()
            rows.append(
                {
                    "photo": photo.result["photo"],
                    "preset": photo.result["preset"],
                    "file": f"{PHOTOS}/{photo.result['photo']}/{photo.result['preset']}/{row['file']}",
                    "prompt": row["prompt"],
                    "seed": row["seed"],
                    "size": f"{row['width']}x{row['height']}",
                    "identity": min(identity) if identity else None,
                    "prompt_similarity": row["prompt_similarity"],
                    "usable": passed,
                }
            )
    return rows


def _csv(rows: Sequence[dict]) -> bytes:
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _safe(value) for key, value in row.items()} for row in rows)
    return stream.getvalue().encode("utf-8-sig")  # spreadsheets take UTF-8 without a mark for something else


def _safe(value: object) -> object:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def _json(plan: Plan, summaries: Sequence[Summary], missing: int, votes) -> dict:
    return {
        "name": plan.name,
        "photos_missing": missing,
        "thresholds": asdict(plan.thresholds),
        "prices": asdict(plan.prices) if plan.prices else None,
        "presets": [
            {
                "preset": one.preset,
                "answer": one.answer,
                "thresholds": asdict(one.limits),
                "photos_that_work": _values(one.working),
                "usable_images": _values(one.usable),
                "identity": _values(one.identity),
                "prompt": _values(one.prompt),
                "more_photos_needed": one.more_photos,
                "seconds_per_photo": one.seconds,
                "cost_per_photo": _rounded(one.cost.photo) if one.cost else None,
                "cost_per_usable_image": _values(one.cost.usable) if one.cost else None,
                "by_prompt": {name: _values(found) for name, found in one.by_prompt.items()},
                "by_objects": {name: _values(found) for name, found in one.by_objects.items()},
                "photos": [_photo_row(photo) for photo in one.photos],
            }
            for one in summaries
        ],
        "votes": {name: _values(found) for name, found in votes.items()},
    }


def _values(interval) -> dict | None:
    if interval is None:
        return None
    return {key: _rounded(value) for key, value in asdict(interval).items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else round(value, 4)
