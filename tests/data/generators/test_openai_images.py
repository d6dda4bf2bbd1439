"""OpenAI's images routes: what is sent, what comes back in which shape, and every way in which servers misbehave."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paragone.data.errors import UsageError
from paragone.data.generators.conformance import check_generator
from paragone.data.generators.http_service import ServiceUnavailable
from paragone.data.generators.media import pixels_of
from paragone.data.generators.openai_images import OpenAIImages
from paragone.data.records import Status, Task

KEY = "sk-canary-1234567890"


def model(server: Any, **settings: Any) -> OpenAIImages:
    task = settings.pop("task", Task.TEXT_TO_IMAGE)
    return OpenAIImages("m", task, settings.pop("model", "flux"), base_url=f"{server.url}/v1", **settings)


def test_it_conforms(server: Any) -> None:
    report = check_generator(model(server), seeded=True)
    assert report.n_ok == report.n_requests
    assert {checked.rule for checked in report.skipped} == {"inputs", "fingerprint"}


def test_what_is_sent_and_what_is_kept(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    made = ask(model(server, size="256x256", body={"quality": "high"}), seed=7)
    assert server.orders[0].body == {
        "model": "flux",
        "prompt": "a cat",
        "n": 1,
        "size": "256x256",
        "response_format": "b64_json",
        "seed": 7,
        "quality": "high",
    }
    assert made.file.content == media.png("a cat", 7)  # byte for byte
    assert np.array_equal(pixels_of(made.file, ""), media.pixels("a cat", 7))
    assert (made.revised_prompt, made.model_served) == ("a cat, in oil", "fake-image-1")
    assert made.details == {"usage": {"total_tokens": 7}}


def test_what_a_server_minds_is_left_out_from_then_on(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    adapter = model(server)
    server.then(
        media.fails(400, "Unknown parameter: 'response_format'.", code="unknown_parameter"),
        media.fails(400, "Unknown parameter: 'seed'.", code="unknown_parameter"),
    )
    assert ask(adapter).status is Status.OK
    assert ask(adapter, "a dog").status is Status.OK
    assert len(server.orders) == 4
    assert not {"response_format", "seed"} & set(server.orders[-1].body)


def test_what_the_user_asked_for_is_not_left_out(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.then(media.fails(400, "Unknown parameter: 'seed'.", code="unknown_parameter"))
    assert ask(model(server, body={"seed": 3})).status is Status.ERROR
    assert len(server.orders) == 1


def test_models_that_always_answer_in_base64_are_not_asked_to(server: Any, ask: Callable[..., Any]) -> None:
    ask(model(server, model="gpt-image-1"))
    assert "response_format" not in server.orders[0].body


@pytest.mark.parametrize("dress", ["data:image/png;base64,{}", "{}\n", "  {}"])
def test_base64_in_every_dress(server: Any, media: Any, ask: Callable[..., Any], dress: str) -> None:
    encoded = base64.encodebytes(media.png("x", 0)).decode()
    server.then(lambda received: media.image_reply(received, b64_json=dress.format(encoded)))
    assert ask(model(server)).file.content == media.png("x", 0)


def test_an_address_is_fetched_at_once(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.files["a.png"] = media.png("x", 0)
    server.then(lambda received: media.image_reply(received, b64_json=None, url=f"{server.url}/files/a.png"))
    assert ask(model(server)).file.content == media.png("x", 0)


def test_an_expired_address_is_an_error(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.then(lambda received: media.image_reply(received, b64_json=None, url=f"{server.url}/files/none.png"))
    made = ask(model(server))
    assert made.status is Status.ERROR
    assert "HTTP 404; the address has expired" in made.message


@pytest.mark.parametrize(
    ("code", "words", "status"),
    [
        ("moderation_blocked", "Your request was rejected by the safety system.", Status.FILTERED),
        ("content_policy_violation", "This prompt may violate our policies.", Status.FILTERED),
        (None, "I'm sorry, but I can't assist with that request.", Status.REFUSED),
        ("invalid_value", "moderation must be one of low, auto", Status.ERROR),
        (None, "safety_tolerance must be between 0 and 6", Status.ERROR),
    ],
)
def test_refusals_and_filters_are_statuses(
    server: Any, media: Any, ask: Callable[..., Any], code: str | None, words: str, status: Status
) -> None:
    server.then(media.fails(400, words, code=code))
    made = ask(model(server))
    assert made.status is status
    assert words in made.message
    assert len(server.orders) == 1


def test_a_refusal_with_status_200(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.then(lambda received: media.image_reply(received, b64_json=None, refusal="I cannot generate this person"))
    made = ask(model(server))
    assert (made.status, made.message) == (Status.REFUSED, "I cannot generate this person")


def test_fewer_pictures_than_asked_for(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.then(media.says({"created": 1, "data": []}))
    made = ask(model(server))
    assert made.status is Status.ERROR
    assert "0 of 1 came back" in made.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>hello</html>", "begins with '<html>hello</html>'"),
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\nbroken", "damaged, truncated"),
    ],
)
def test_what_is_no_picture(server: Any, media: Any, ask: Callable[..., Any], content: bytes, words: str) -> None:
    server.files["a.png"] = content
    server.then(lambda received: media.image_reply(received, b64_json=None, url=f"{server.url}/files/a.png"))
    made = ask(model(server))
    assert made.status is Status.ERROR
    assert words in made.message


def test_too_busy_then_well(server: Any, media: Any, ask: Callable[..., Any], waits: list[float]) -> None:
    server.then(
        media.fails(429, retry_after="2"),
        media.fails(500),
        lambda received: media.Answer(200, media.image_reply(received).body, cut_at=20),
    )
    assert ask(model(server)).status is Status.OK
    assert len(server.orders) == 4
    assert waits[0] == 1.0  # the first wait of its own; and then until the two seconds are over
    assert 1.5 < waits[1] <= 2.0
    keys = {received.headers["idempotency-key"] for received in server.orders}
    assert len(keys) == 1


def test_a_slow_server_is_a_timeout_and_is_not_asked_twice(server: Any, media: Any, ask: Callable[..., Any]) -> None:
    server.then(lambda received: media.Answer(200, media.image_reply(received).body, delay_s=1.0))
    assert ask(model(server, timeout_s=0.2)).status is Status.TIMEOUT
    server.then(lambda received: media.Answer(200, media.image_reply(received).body, drip_s=0.05))
    made = ask(model(server, timeout_s=0.3))
    assert made.status is Status.TIMEOUT
    assert "no reply within 0" in made.message
    assert len(server.orders) == 2


def test_a_server_that_stays_broken_is_an_error_of_the_request(
    server: Any, media: Any, ask: Callable[..., Any], waits: list[float]
) -> None:
    server.then(*[media.fails(503, "overloaded")] * 3)
    made = ask(model(server, max_attempts=3))
    assert made.status is Status.ERROR
    assert "HTTP 503: overloaded (3 attempts)" in made.message


def test_a_wrong_key_ends_the_run_and_is_told_to_nobody(
    server: Any, media: Any, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("IMAGES_KEY", KEY)
    server.then(media.fails(401, f"Incorrect API key provided: {KEY}"))
    with pytest.raises(ServiceUnavailable, match=r"HTTP 401.*\[key\]") as raised:
        ask(model(server, api_key_env="IMAGES_KEY"))
    assert server.orders[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(raised.value) + caplog.text
    monkeypatch.delenv("IMAGES_KEY")
    with pytest.raises(UsageError, match="IMAGES_KEY"):
        model(server, api_key_env="IMAGES_KEY")


def test_an_enormous_reply_is_not_read(
    server: Any, media: Any, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["a.png"] = b"\x89PNG" + bytes(3 << 20)
    server.then(lambda received: media.image_reply(received, b64_json=None, url=f"{server.url}/files/a.png"))
    monkeypatch.setattr("paragone.data.generators.openai_images.MAX_BYTES", 1 << 20)
    made = ask(model(server))
    assert made.status is Status.ERROR
    assert "over 1 MB" in made.message


def test_edits_send_the_picture_and_a_mask_that_is_clear_where_ours_is_white(
    server: Any, media: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    source, mask = tmp_path / "s.png", tmp_path / "m.png"
    source.write_bytes(media.png("source", 0))
    Image.fromarray(np.array([[255, 0]], np.uint8)).save(mask)
    adapter = model(server, task=Task.IMAGE_EDITING)
    assert ask(adapter, source=source, mask=mask).status is Status.OK
    received = server.orders[0]
    assert received.path == "/v1/images/edits"
    assert received.body["image"] == source.read_bytes()
    with Image.open(io.BytesIO(received.body["mask"])) as sent:
        assert np.asarray(sent)[..., 3].tolist() == [[0, 255]]
    assert ask(adapter).status is Status.ERROR  # a prompt without a picture
    assert check_generator(adapter, seeded=True).n_ok


def test_clips_are_for_another_adapter(server: Any) -> None:
    with pytest.raises(UsageError, match="openai-videos"):
        model(server, task=Task.TEXT_TO_VIDEO)
