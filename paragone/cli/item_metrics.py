"""What `paragone metrics` does with clips, edits and text in pictures: from options to a report of single items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paragone.data.errors import UsageError

if TYPE_CHECKING:
    from paragone.data.edits import Edit
    from paragone.data.progress import Progress
    from paragone.data.records import Prompt
    from paragone.metrics.inputs import ClipReading
    from paragone.metrics.item_measures import ItemReport
    from paragone.metrics.settings import Values

NOT_OF_EDITS = ("reference", "training", "set_options", "ocr", "cache", "no_cache")


def plan_items(
    generated: str, options: Mapping[str, Any], settings: Values
) -> tuple[Callable[[Progress], ItemReport] | None, tuple[str, ...]]:
    """What gives the report of the measures of single items among those asked for, and the names that are left.

    All that can be wrong with it is said here; None where nothing of this kind is asked for.
    """
    from paragone.data.edits import is_table_of_edits
    from paragone.metrics.clip_metrics import CLIP_METRICS
    from paragone.metrics.edit_metrics import EDIT_METRICS
    from paragone.metrics.text_rendering import TEXT_METRICS

    names: tuple[str, ...] = options["metric_names"]
    if is_table_of_edits(generated) or any(name in EDIT_METRICS for name in names):
        return _plan_edits(generated, options), ()
    if options["lpips"]:
        raise UsageError(f"--lpips {options['lpips'][0]}: is of edits; ask for lpips of a table of them")
    of_clips = tuple(name for name in names if name in CLIP_METRICS)
    if options["keep_frames"] and not of_clips:
        raise UsageError(f"--keep-frames {options['keep_frames']}: is of clips; add --metric motion")
    if of_clips:
        return _plan_clips(generated, of_clips, options, settings), _without(names, of_clips)
    of_text = tuple(name for name in names if name in TEXT_METRICS)
    if not of_text:
        if options["ocr"]:
            raise UsageError(f"--ocr {options['ocr']}: nothing asked for reads text; add --metric cer")
        return None, names
    return _plan_text(generated, of_text, options, settings), _without(names, of_text)


def _without(names: Sequence[str], dealt_with: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in dealt_with)


def _plan_clips(
    generated: str, names: Sequence[str], options: Mapping[str, Any], settings: Values
) -> Callable[[Progress], ItemReport]:
    from paragone.cli.extraction import feature_cache
    from paragone.data.clip_frames import clip_frames_file
    from paragone.data.files import file_digest
    from paragone.data.project import Project
    from paragone.data.videos import VideoSource
    from paragone.metrics.inputs import open_samples
    from paragone.metrics.settings import check_used
    from paragone.metrics.watching import check_clips

    if len(names) == len(options["metric_names"]):
        check_used(settings, dict.fromkeys(names))
    if len(options["features"]) > 1:
        raise UsageError("--features: subject_drift is in one extractor's features; name one")
    keep, source = options["keep_frames"], Path(generated)
    if keep is not None:
        Project.open(keep)
        if not (source.is_dir() or source.is_file()) or source.suffix.lower() in (".zip", ".tar", ".npy", ".npz"):
            raise UsageError(f"--keep-frames: {generated}: values are kept of files; give a folder of clips")
    clips = open_samples(generated, on_error=options["on_error"], clips=_reading(options))
    assert isinstance(clips, VideoSource)
    request = check_clips(
        clips,
        metrics=names,
        features=(options["features"] or ("gist",))[0],
        weights=options["weights"],
        device=options["device"],
        cache=feature_cache(options["cache"], no_cache=options["no_cache"]),
    )

    def run(progress: Progress) -> ItemReport:
        report, frames = request.report(progress)
        for name, values in frames.items() if keep is not None else ():
            file = source / name if source.is_dir() else source
            if file.is_file():
                values.save(clip_frames_file(keep, file_digest(file)))
        return report

    return run


def _reading(options: Mapping[str, Any]) -> ClipReading:
    """How clips are read for measures of single ones: whole, unless a number or a way of frames is asked for."""
    from paragone.cli.clip_options import ClipOptions
    from paragone.metrics.watching import WHOLE

    given = ClipOptions(**{one.name: options[one.name] for one in fields(ClipOptions)})
    reading = given.reading(options["seed"])
    rule = reading.rule
    if given.clip_frames is None and given.sampling is None:
        rule = replace(WHOLE, stride=rule.stride, fps=rule.fps)
    return replace(reading, kind="clips", rule=rule)


def _plan_edits(generated: str, options: Mapping[str, Any]) -> Callable[[Progress], ItemReport]:
    from paragone.metrics.edit_metrics import check_edits

    for name in NOT_OF_EDITS:
        if options.get(name):
            option = "--set" if name == "set_options" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{option}: does nothing for edits; leave it out")
    clips = [name for name in options["features"] if name.partition(":")[0] == "clip"]
    if len(clips) > 1 or (options["features"] not in ((), ("gist",)) and not clips):
        raise UsageError("--features: directional_similarity is by one CLIP; write --features clip:MODEL")
    request = check_edits(
        _edits(generated, options["prompts"]),
        metrics=options["metric_names"] or None,
        lpips=options["lpips"],
        clip=clips[0] if clips else "clip",
        weights=options["weights"],
        device=options["device"],
        on_error=options["on_error"],
    )
    return request.report


def _plan_text(
    generated: str, names: Sequence[str], options: Mapping[str, Any], settings: Values
) -> Callable[[Progress], ItemReport]:
    from paragone.metrics.settings import check_used
    from paragone.metrics.text_rendering import SETTINGS, check_text

    if options["prompts"] is None:
        raise UsageError(f"{names[0]}: needs to know the text that was asked for; name the file with --prompts")
    if len(names) == len(options["metric_names"]):
        check_used(settings, dict.fromkeys(names, SETTINGS))
    request = check_text(
        generated,
        options["prompts"],
        metrics=names,
        reader=options["ocr"] or "tesseract",
        settings={name: values for name, values in settings.items() if name in names},
        on_error=options["on_error"],
    )
    return request.report


def _edits(generated: str, prompts: Path | None) -> tuple[Edit, ...]:
    from paragone.data.edits import edits_of_folder, is_table_of_edits, read_edits
    from paragone.data.generators.runner import MANIFEST

    if is_table_of_edits(generated):
        if prompts is not None:
            raise UsageError("--prompts: does nothing for a table of edits, which has the instructions; leave it out")
        return read_edits(generated)
    folder = Path(generated)
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{generated}: measures of edits need a table (.csv, .jsonl) with source, instruction and result, or a "
            f"model's folder with a {MANIFEST} in a project"
        )
    project = next((one for one in folder.resolve().parents if (one / "arena.db").is_file()), None)
    if project is None:
        raise UsageError(f"{generated}: lies in no project, so the pictures that were edited are not known")
    return edits_of_folder(folder, _prompts_of(project), project)


def _prompts_of(project: Path) -> dict[str, Prompt]:
    from paragone.arena import Store
    from paragone.data.project import Project

    with Store(Project.open(project).database) as store:
        return {prompt.id: prompt for prompt in store.prompts()}
