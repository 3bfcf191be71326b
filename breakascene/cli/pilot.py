"""The commands of `pilot`: many photos through the whole chain, with a report."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from breakascene.cli.options import SeedOption, open_base
from breakascene.cli.progress import format_duration, stop_on_interrupt
from breakascene.errors import UserError
from breakascene.files import require_empty, require_writable

app = typer.Typer(help="Take many photos through the whole chain and report what it gives.", no_args_is_help=True)
RESULTS_HELP = "The folder that pilot run wrote: a path, or an address such as s3://bucket/pilot."
PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN.yaml|FOLDER", help="The plan of the run.")]
OutOption = Annotated[str, typer.Option(help=RESULTS_HELP)]
ResultsArgument = Annotated[str, typer.Argument(metavar="DIR", help=RESULTS_HELP)]


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="New folder: photos, masks and plan.yaml.")],
    photos: Annotated[int, typer.Option(min=1, max=1000, help="Number of photos.")] = 40,
    seed: SeedOption = 0,
):
    """Render photos of toys with masks, to try the pilot without photos of your own."""
    require_writable(out, "folder")
    require_empty(out)
    from breakascene.toybox.pretraining.pilot_photos import write_pilot_photos

    write_pilot_photos(out, photos, seed)
    print(f"{out}: {photos} photos, their masks and plan.yaml")


@app.command()
def run(
    source: Annotated[Path, typer.Argument(metavar="PLAN.yaml|FOLDER", help="A plan, or a folder of photos.")],
    out: Annotated[str, typer.Option(help="Folder for the results: a path, or an address such as s3://bucket/pilot.")],
    workers: Annotated[
        int,
        typer.Option(min=1, max=1024, show_default=False, help="Default: one for each GPU, else for each CPU core."),
    ] = None,
    address: Annotated[str, typer.Option(help="A Ray cluster, such as ray://HOST:10001; default: this machine.")] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Also process photos again that failed.")] = False,
):
    """Process the photos of a plan. After Ctrl-C or an error, the same command goes on where it was."""
    from breakascene.pilot.plan import read_plan
    from breakascene.pilot.store import Store

    plan, store = read_plan(source), Store(out)
    store.require_writable()
    from breakascene.pilot import workers as ray_workers
    from breakascene.pilot.run import run as run_pilot
    from breakascene.pilot.run import sequential

    with ExitStack() as stack:
        if workers or address or ray_workers.is_installed():
            cluster = stack.enter_context(ray_workers.connected(address, workers or 0))
            executor, count = ray_workers.on_ray(plan.base, cluster), cluster.workers
        else:
            executor, count = sequential(plan.base), 1
        stop = stack.enter_context(stop_on_interrupt())  # last, because Ray sets a handler for SIGTERM
        end = run_pilot(plan, store, executor, workers=count, retry=retry, stop=stop, on_progress=_print_progress)
    if end.finished:
        print(f"Finished: {end.done} of {end.total} done, {end.failed} failed. Next: pilot report {source} --out {out}")
    else:
        print(f"Stopped after {end.done + end.failed} of {end.total}. Run the same command to go on.")


@app.command()
def review(
    source: PlanArgument,
    out: OutOption,
    add: Annotated[Path | None, typer.Option(help="The file that the page has saved.")] = None,
):
    """Make a page on which automatic masks are accepted, corrected or rejected, OUT/review/index.html, or add its file.

    The next pilot run takes the reviewed masks; photos that had other masks are processed again.
    """
    from breakascene.pilot.plan import read_plan
    from breakascene.pilot.review import PAGE, add_review, write_review
    from breakascene.pilot.store import Store

    plan, store = read_plan(source), Store(out)
    if add:
        print(f"Masks of {add_review(store, read_file(add), add.name)} photos added. pilot run takes them.")
        return
    from breakascene.pilot.task import Models

    print(f"{out}/{PAGE}: {write_review(plan, store, Models.load(plan.base).segmenter)} photos.")


@app.command()
def status(results: ResultsArgument):
    """Say how far a pilot is, also while it runs."""
    from breakascene.pilot.run import read_status
    from breakascene.pilot.store import Store

    found = read_status(Store(results))
    ended = found["done"] + found["failed"]
    line = f"{found['name']}: {found['state']}, {ended} of {found['total']}, {found['failed']} failed"
    if found["state"] == "running":
        ago = time.time() - found["time"]
        left = found["seconds_left"]
        line += f", {found['workers']} workers, last change {format_duration(max(ago, 0))} ago"
        line += f", about {format_duration(max(left - ago, 0))} left" if left is not None else ""
    print(line)


@app.command()
def report(source: PlanArgument, out: OutOption):
    """Write the report: OUT/report/index.html, photos.csv, images.csv and report.json. Prices may change before it."""
    from breakascene.pilot.plan import read_plan
    from breakascene.pilot.report import FOLDER, write_report
    from breakascene.pilot.report_page import percent
    from breakascene.pilot.store import Store

    for one in write_report(read_plan(source), Store(out)):
        print(
            f"{one.preset}: {one.answer}; photos that work {percent(one.working)}, usable images {percent(one.usable)}"
        )
    print(f"Done: open {out}/{FOLDER}/index.html in a browser.")


@app.command()
def vote(
    source: PlanArgument,
    out: OutOption,
    add: Annotated[
        list[Path] | None, typer.Option(help="A file of votes that a colleague has saved; repeatable.")
    ] = None,
):
    """Make a page on which colleagues vote blindly, OUT/vote/index.html, or add their votes for the report."""
    from breakascene.pilot import vote as votes
    from breakascene.pilot.plan import read_plan
    from breakascene.pilot.store import Store

    plan, store = read_plan(source), Store(out)
    for file in add or []:
        print(f"Votes of {votes.add_votes(store, read_file(file), file.name)} added.")
    if add:
        print(f"{votes.vote_count(store)} have voted. pilot report counts the votes.")
    else:
        count = votes.write_vote(plan, store)
        print(
            f"{out}/{votes.FOLDER}/index.html: {count} questions. Send it to colleagues, then add their files: --add."
        )


@app.command()
def thresholds(results: ResultsArgument):
    """Fit the thresholds of usable images to the votes of colleagues, for models without defaults such as CLIP."""
    from breakascene.pilot.calibration import fit_to_votes
    from breakascene.pilot.store import Store

    fit = fit_to_votes(Store(results))
    print(f"thresholds:\n  identity: {fit.identity}\n  prompt: {fit.prompt}")
    print(
        f"They judge {fit.agree} of {fit.images} images as most colleagues do, fitted to the others "
        f"{fit.agree_left_out}. Write them into the plan, then run pilot report again."
    )


@app.command()
def variants(
    source: Annotated[Path, typer.Argument(metavar="VARIANTS.yaml", help="Two to six variants: place, style, crop.")],
    results: Annotated[str, typer.Option(help=RESULTS_HELP)],
    out: Annotated[Path, typer.Option(help="New folder: images named for ad platforms, and variants.csv.")],
    seed: SeedOption = 0,
):
    """Generate variants of the objects of a pilot for an A/B test; apart from the variant they share everything."""
    require_writable(out, "folder")
    require_empty(out)
    from breakascene.pilot import variants as ads
    from breakascene.pilot.run import read_results
    from breakascene.pilot.store import Store

    chosen, photos = ads.read_variants(source)
    store = Store(results)
    bases = [result["base"] for result in read_results(store) if "base" in result]
    base = open_base(bases[0] if bases else "auto")
    count = ads.write_variants(base, store, chosen, photos, out, seed)
    print(f"{out}: {count} images and {ads.TABLE}")


@app.command()
def ab(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS.csv", help="Columns: variant, impressions, clicks, conversions.")
    ],
):
    """Compare the results of a campaign: rates with intervals, and the winner or what is needed to decide."""
    from breakascene.pilot.ab import RATES, compare, describe, read_results_csv

    for one in compare(read_results_csv(results)):
        for name, rate in one.rates.items():
            interval = f"{rate.low:.3%} to {rate.high:.3%}"
            print(f"{name}: {rate.value:.3%} ({interval}) {one.rate} of {rate.count:,} {RATES[one.rate]}")
        print(describe(one))


def read_file(file: Path) -> bytes:
    """Read a file of votes or of a review. Raises UserError if it is missing."""
    if not file.is_file():
        raise UserError(f"There is no file {file}: check the path.")
    return file.read_bytes()


def _print_progress(progress) -> None:
    ended = progress.done + progress.failed
    if progress.last is None:
        print(f"{ended} of {progress.total} are done already." if ended else f"{progress.total} to do.", flush=True)
        return
    last = progress.last
    line = f"{ended} of {progress.total}: {last['photo']} ({last['preset']})"
    line += f", {last['seconds']['total']:.0f} s" if last["state"] == "done" else f" failed. {last['reason']}"
    if progress.seconds_left and not progress.finished:
        line += f", about {format_duration(progress.seconds_left)} left"
    print(line, flush=True)
