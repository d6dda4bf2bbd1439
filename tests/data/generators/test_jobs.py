"""Services that deliver later: videos, described services, ComfyUI. Nothing is ordered twice; every end has a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paragone.data.errors import InputError, UsageError
from paragone.data.generators.comfyui import ComfyUI
from paragone.data.generators.conformance import check_generator
from paragone.data.generators.http_job import HttpJob, at, filled, path_of
from paragone.data.generators.jobs import JobLog, Waiting
from paragone.data.generators.media import pixels_of
from paragone.data.generators.openai_videos import OpenAIVideos
from paragone.data.records import Status, Task

QUEUE = {
    "submit": {
        "path": "/queue-api/flux",
        "body": {"prompt": "{prompt}", "seed": "{seed}", "note": "seed {seed}", "steps": 4},
        "job": "/request_id",
    },
    "poll": {
        "path": "/queue-api/{job}/status",
        "done": ["COMPLETED"],
        "failed": ["FAILED"],
        "filtered": ["MODERATED"],
        "message": "/detail",
    },
    "result": {"path": "/queue-api/{job}", "output": "/images/0/url", "cost": "/cost", "model": "/model"},
}
WORKFLOW = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 4}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "…"}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["8", 0]}},
    "10": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
}
INJECT = {"prompt": "6.inputs.text", "seed": "3.inputs.seed"}


def queue(server: Any, **settings: Any) -> HttpJob:
    options = {**QUEUE, "base_url": server.url, "poll_s": 0.01, **settings}
    return HttpJob("m", settings.pop("task", Task.TEXT_TO_IMAGE), **options)


def videos(server: Any, **settings: Any) -> OpenAIVideos:
    task = settings.pop("task", Task.TEXT_TO_VIDEO)
    return OpenAIVideos("m", task, "sora", base_url=f"{server.url}/v1", poll_s=0.01, **settings)


def comfy(server: Any, tmp_path: Path, **settings: Any) -> ComfyUI:
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(WORKFLOW))
    task = settings.pop("task", Task.TEXT_TO_IMAGE)
    options = {"inject": INJECT, "poll_s": 0.01, **settings}
    return ComfyUI("m", task, workflow, base_url=server.url, **options)


@pytest.fixture(params=["videos", "queue", "comfy"])
def make(request: pytest.FixtureRequest, server: Any, tmp_path: Path) -> Callable[..., Any]:
    """Makes one of the three adapters with a folder for its state."""

    def made(**settings: Any) -> Any:
        if request.param == "comfy":
            return comfy(server, tmp_path, state_folder=tmp_path / "state", **settings)
        maker = {"videos": videos, "queue": queue}[request.param]
        return maker(server, state_folder=tmp_path / "state", **settings)

    return made


def test_they_conform(make: Callable[..., Any]) -> None:
    adapter = make()
    seeded = not isinstance(adapter, OpenAIVideos)  # which has no seeds
    report = check_generator(adapter, seeded=seeded)
    assert report.n_ok == report.n_requests


def test_a_killed_run_goes_on_waiting(make: Callable[..., Any], server: Any, ask: Callable[..., Any]) -> None:
    class Killed(BaseException):
        pass

    def kill(_: float) -> None:
        raise Killed

    server.pending_looks = 3
    adapter = make()
    adapter._waiting = Waiting(sleep=kill)
    if isinstance(adapter, ComfyUI):  # its fake server is always ready at once: kill while it fetches
        adapter._ended = kill
    with pytest.raises(Killed):
        ask(adapter)
    assert ask(make()).status is Status.OK
    assert len(server.orders) == 1
    assert ask(make()).status is Status.OK  # it was fetched, so this is a new order
    assert len(server.orders) == 2


def test_a_job_that_takes_too_long_is_a_timeout_and_is_not_forgotten(
    make: Callable[..., Any], server: Any, media: Any, ask: Callable[..., Any]
) -> None:
    server.pending_looks = 10**6
    server.on("/history/comfy-0", media.says({}))
    server.on("/queue", media.says({"queue_running": [[0, "comfy-0", {}]], "queue_pending": []}))
    made = ask(make(job_timeout_s=0.05))
    assert made.status is Status.TIMEOUT
    assert "not finished within 0 s" in made.message
    ask(make(job_timeout_s=0.05))
    assert len(server.orders) == 1


def test_a_lost_job_is_an_error_and_then_ordered_anew(
    make: Callable[..., Any], server: Any, media: Any, ask: Callable[..., Any]
) -> None:
    server.pending_looks = 10**6
    server.on("/history/comfy-0", media.says({}))
    server.on("/queue", media.says({"queue_running": [[0, "comfy-0", {}]], "queue_pending": []}))
    ask(make(job_timeout_s=0.05))
    server.jobs = {"another": {}}  # the server was restarted
    server.on("/queue", media.says({"queue_running": [], "queue_pending": []}))
    server.pending_looks = 1
    first = ask(make())
    assert first.status is Status.OK or ("404" in first.message and ask(make()).status is Status.OK)
    assert len(server.orders) == 2


def test_a_server_that_is_busy_is_asked_again(
    make: Callable[..., Any], server: Any, media: Any, ask: Callable[..., Any], waits: list[float]
) -> None:
    server.then(media.fails(429, retry_after="1"), media.fails(502))
    assert ask(make()).status is Status.OK
    assert len(server.orders) == 3
    assert waits


def test_an_order_that_is_no_json(make: Callable[..., Any], server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.then(lambda _: media.Answer(200, b"<html>proxy</html>"), media.says(["no object"]))
    assert "no JSON but '<html>" in ask(make()).message
    assert ask(make()).status is Status.ERROR


# ---- videos ----


def test_a_clip_is_kept_byte_for_byte(server: Any, media: Any, ask: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "s.png"
    source.write_bytes(media.png("s", 0))
    made = ask(videos(server, seconds="4"), "waves")
    assert made.file.content == media.clip_file("waves")
    assert (made.file.frames, made.file.fps, made.file.width) == (5, 8.0, 16)
    assert made.model_served == "fake-video-1"
    assert ask(videos(server, task=Task.IMAGE_TO_VIDEO), source=source).status is Status.OK
    assert server.orders[1].body["input_reference"] == source.read_bytes()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": "moderation_blocked", "message": "Blocked by our moderation system."}, Status.FILTERED),
        ({"code": "internal", "message": "GPU fell off"}, Status.ERROR),
        ("no words", Status.ERROR),
    ],
)
def test_a_failed_video(server: Any, media: Any, ask: Callable[..., Any], error: Any, status: Status) -> None:
    server.on("/v1/videos/video_0", media.says({"id": "video_0", "status": "failed", "error": error}))
    made = ask(videos(server))
    assert made.status is status
    assert "the job failed" in made.message


def test_stills_are_for_another_adapter(server: Any) -> None:
    with pytest.raises(UsageError, match="openai-images"):
        videos(server, task=Task.TEXT_TO_IMAGE)


# ---- described services ----


def test_what_the_description_says_is_sent_and_read(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    adapter = queue(server)
    made = ask(adapter, 'say "{seed}" {job}', seed=3)
    assert server.orders[0].body == {"prompt": 'say "{seed}" {job}', "seed": 3, "note": "seed 3", "steps": 4}
    assert np.array_equal(pixels_of(made.file, ""), media.pixels('say "{seed}" {job}', 3))
    assert (str(made.cost_usd), made.model_served) == ("0.0125", "fake-flux")
    assert adapter.reports_cost


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"status": "FAILED", "detail": "cuda"}, Status.ERROR, "the job ended as FAILED: cuda"),
        ({"status": "FAILED", "detail": "NSFW content"}, Status.FILTERED, "NSFW"),
        ({"status": "MODERATED"}, Status.FILTERED, "no reason given"),
    ],
)
def test_a_job_that_ends_badly(
    server: Any, media: Any, ask: Callable[..., Any], said: Any, status: Status, words: str
) -> None:
    server.on("/queue-api/job-0/status", media.says(said))
    made = ask(queue(server))
    assert made.status is status
    assert words in made.message


def test_a_service_that_answers_at_once_needs_no_poll(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    encoded = media.image_reply(media.Received("POST", "", {}, {}, b'{"prompt": "x"}')).body
    server.then(lambda _: media.Answer(200, encoded))
    adapter = HttpJob(
        "m",
        Task.TEXT_TO_IMAGE,
        server.url,
        submit={"path": "/x", "body": {"p": "{prompt}"}},
        result={"output": "/data/0/b64_json"},
    )
    assert ask(adapter).status is Status.OK


def test_outputs_elsewhere_are_fetched_only_from_public_addresses(
    server: Any, media: Any, ask: Callable[..., Any]
) -> None:
    for url, words in [
        ("http://169.254.169.254/latest/meta-data", "private network (169.254.169.254)"),
        ("http://127.0.0.1:1/x.png", "private network (127.0.0.1)"),
        ("http://localhost:1/x.png", "private network"),
        ("http://[::ffff:10.0.0.1]/x.png", "private network"),
        ("file:///etc/passwd", "not of http or https"),
        ("gopher://x", "not of http or https"),
    ]:
        server.on("/queue-api/job-0", media.says({"images": [{"url": url}]}))
        server.jobs.clear()
        made = ask(queue(server))
        assert made.status is Status.ERROR, url
        assert words in made.message
    assert not any(received.path.endswith("x.png") for received in server.requests)


def test_a_redirect_into_a_private_network_is_not_followed(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    def away(_: Any) -> Any:
        return media.Answer(302, b"", {"Location": "http://169.254.169.254/secret"})

    server.on("/files/job-0.png", away)
    made = ask(queue(server))
    assert "private network (169.254.169.254)" in made.message
    server.on("/files/job-1.png", lambda _: media.Answer(302, b"", {"Location": f"{server.url}/files/real.png"}))
    server.files["real.png"] = media.png("x", 0)
    assert ask(queue(server)).file.content == media.png("x", 0)
    server.on("/files/job-2.png", lambda _: media.Answer(302, b"", {"Location": f"{server.url}/files/job-2.png"}))
    assert "more than 5 redirects" in ask(queue(server)).message


def test_an_output_over_the_limit(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.on("/files/job-0.png", lambda _: media.Answer(200, bytes(2 << 20)))
    assert "over 1 MB" in ask(queue(server, max_mb=1)).message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"poll": {"path": "/x"}}, "path and done"),
        ({"submit": {"body": {}}}, "submit needs a path"),
        ({"result": {"outputs": "/x"}}, "did you mean 'output'"),
        ({"base_url": "ftp://x"}, "is not like http"),
        ({"base_url": "http://user:secret@x"}, "no password"),
    ],
)
def test_a_description_that_cannot_work(server: Any, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        queue(server, **changes)
    assert "secret" not in str(raised.value)


def test_placeholders_and_pointers() -> None:
    words = {"prompt": "{seed} & co", "seed": 7, "job": "a/b?c"}
    assert filled({"a": ["{seed}", "{prompt}", "x{seed}", 3, "{mask}"]}, words) == {
        "a": [7, "{seed} & co", "x7", 3, "{mask}"]
    }
    assert path_of("/jobs/{job}", words) == "/jobs/a%2Fb%3Fc"
    document = {"a/b": [{"~": 1}]}
    assert at(document, "/a~1b/0/~0") == 1
    assert at(document, "/a~1b/1/x") is None
    assert at(document, "") == document


# ---- ComfyUI ----


def test_prompt_seed_and_picture_go_where_they_belong(
    server: Any, media: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    source = tmp_path / "s.png"
    source.write_bytes(media.png("source", 0))
    adapter = comfy(server, tmp_path, task=Task.IMAGE_EDITING, inject={**INJECT, "source": "10.inputs.image"})
    made = ask(adapter, "a cat", 5, source=source)
    assert np.array_equal(pixels_of(made.file, ""), media.pixels("a cat", 5))
    upload, order = server.orders
    assert upload.body["image"] == source.read_bytes()
    graph = order.body["prompt"]
    assert (graph["6"]["inputs"]["text"], graph["3"]["inputs"]["seed"]) == ("a cat", 5)
    assert graph["10"]["inputs"]["image"].startswith("in/")
    assert ask(adapter).message == "the workflow wants a source picture, and the prompt has none"


def test_equal_requests_save_under_names_of_their_own(server: Any, ask: Callable[..., Any], tmp_path: Path) -> None:
    """Otherwise ComfyUI answers the second one from its cache, without a file."""
    adapter = comfy(server, tmp_path)
    assert ask(adapter).file.content == ask(adapter).file.content
    names = {order.body["prompt"]["9"]["inputs"]["filename_prefix"] for order in server.orders}
    assert len(names) == 2


def test_an_end_without_a_file(server: Any, media: Any, ask: Callable[..., Any], tmp_path: Path) -> None:
    cached = {"status_str": "success", "completed": True, "messages": [["execution_cached", {"nodes": ["9"]}]]}
    server.on("/history/comfy-0", media.says({"comfy-0": {"outputs": {}, "status": cached}}))
    made = ask(comfy(server, tmp_path))
    assert made.status is Status.ERROR
    assert "ended without a file" in made.message


def test_previews_do_not_count_where_something_was_saved(
    server: Any, media: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    server.files |= {"p.png": media.png("preview", 0), "f.png": media.png("final", 0)}
    outputs = {
        "7": {"images": [{"filename": "p.png", "subfolder": "", "type": "temp"}]},
        "9": {"gifs": [{"filename": "f.png", "subfolder": "", "type": "output"}]},
    }
    server.on("/history/comfy-0", media.says({"comfy-0": {"outputs": outputs, "status": {"status_str": "success"}}}))
    assert ask(comfy(server, tmp_path)).file.content == media.png("final", 0)
    assert server.requests[-1].query["type"] == ["output"]


def test_node_errors_are_told(server: Any, media: Any, ask: Callable[..., Any], tmp_path: Path) -> None:
    refused = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
        "node_errors": {
            "4": {
                "class_type": "CheckpointLoaderSimple",
                "errors": [{"message": "Value not in list", "details": "ckpt_name: 'flux.safetensors' not in []"}],
            }
        },
    }
    server.then(lambda _: media.as_json(refused, 400))
    made = ask(comfy(server, tmp_path))
    assert made.status is Status.ERROR
    assert "node 4 (CheckpointLoaderSimple): Value not in list ckpt_name: 'flux.safetensors' not in []" in made.message


def test_a_node_that_fails_is_named(server: Any, media: Any, ask: Callable[..., Any], tmp_path: Path) -> None:
    facts = {"node_id": "3", "node_type": "KSampler", "exception_type": "OOM", "exception_message": "out of memory"}
    failed = {"status_str": "error", "completed": False, "messages": [["execution_error", facts]]}
    server.on("/history/comfy-0", media.says({"comfy-0": {"outputs": {}, "status": failed}}))
    assert ask(comfy(server, tmp_path)).message == "node 3 (KSampler): OOM: out of memory"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"inject": {"prompt": "60.inputs.text"}}, "no node '60'"),
        ({"inject": {"prompt": "6.inputs.words"}}, r"it has: 6\.inputs\.text"),
        ({"inject": {"seed": "3.inputs.seed"}}, "where the prompt goes"),
        ({"inject": {**INJECT, "sorce": "10.inputs.image"}}, "did you mean 'source'"),
        ({"output_node": "11"}, "no node of"),
    ],
)
def test_a_workflow_that_does_not_fit(server: Any, tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        comfy(server, tmp_path, **settings)


def test_the_editors_format_is_not_the_apis(server: Any, tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text('{"nodes": [], "links": []}')
    with pytest.raises(InputError, match=r"Export \(API\)"):
        ComfyUI("m", Task.TEXT_TO_IMAGE, tmp_path / "w.json", INJECT, base_url=server.url)


def test_a_log_that_was_torn_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    log = JobLog(tmp_path)
    log.ordered("a", "1")
    log.ordered("b", "2")
    log.ended("a")
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(path.read_bytes() + b'{"request": "c", "jo')
    log = JobLog(tmp_path)
    assert (log.find("a"), log.find("b"), log.find("c")) == (None, "2", None)
    log.ordered("d", "4")
    assert JobLog(tmp_path).find("d") == "4"
