"""Charts as values: what they show, and that they become files."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paragone.arena import plots
from paragone.arena.bradley_terry import fit_bradley_terry
from paragone.arena.elo import elo_history
from paragone.arena.plots import (
    HISTORY_NAMED,
    HISTORY_POINTS,
    LINE_PX,
    check_plot,
    history_plot,
    interval_plot,
    save_chart,
    timed,
    win_matrix_plot,
)
from paragone.data.errors import UsageError


def votes(n_models: int, n_votes: int) -> pd.DataFrame:
    """Votes in which every model meets every other."""
    rng = np.random.default_rng(n_models)
    names = np.array([f"an organisation with a long name/model-{k:02d}" for k in range(n_models)], object)
    a = np.arange(n_votes) % n_models
    b = (a + rng.integers(1, n_models, size=n_votes)) % n_models
    winner = rng.choice(["model_a", "model_b", "tie"], size=n_votes)
    return pd.DataFrame({"model_a": names[a], "model_b": names[b], "winner": winner})


def rows_of(chart: plots.Chart, layer: int) -> pd.DataFrame:
    """The data of one layer."""
    data = chart.layer[layer].data  # altair lifts data that all layers share
    return data if isinstance(data, pd.DataFrame) else chart.data


def square(n_models: int) -> pd.DataFrame:
    names = [f"m{k}" for k in range(n_models)]
    return pd.DataFrame(np.full((n_models, n_models), 0.25), index=names, columns=names)


@pytest.mark.parametrize("dark", [False, True])
def test_intervals_show_every_model_best_first(dark: bool) -> None:
    ratings = fit_bradley_terry(votes(12, 600))
    specification = interval_plot(ratings, dark=dark).to_dict()
    assert specification["layer"][0]["encoding"]["y"]["sort"] == list(ratings.models)
    assert specification["background"] == ("#17171c" if dark else "#ffffff")
    assert specification["title"]["text"] == "bradley-terry, 600 votes, 95 % intervals: sandwich"
    frame = rows_of(interval_plot(ratings), 0)
    low, high = ratings.rank_interval or ((), ())
    expected = [str(a) if a == b else f"{a}–{b}" for a, b in zip(low, high, strict=True)]
    assert frame["ranks"].tolist() == expected
    domain = specification["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert domain[0] < frame["rating_lower"].min()
    assert domain[1] > frame["rating_upper"].max()


def test_ratings_without_intervals_are_points() -> None:
    ratings = fit_bradley_terry(votes(3, 60), ci="none")
    marks = [layer["mark"]["type"] for layer in interval_plot(ratings).to_dict()["layer"]]
    assert "rule" not in marks
    assert "circle" in marks


def test_a_matrix_has_numbers_where_there_is_room_and_nothing_where_nobody_met() -> None:
    matrix = square(15)
    matrix.iloc[0, 1] = np.nan
    chart = win_matrix_plot(matrix)
    assert len(chart.layer) == 2
    frame = rows_of(chart, 0)
    assert len(frame) == 15 * 14 - 1
    assert not ((frame["model"] == "m0") & (frame["against"] == "m1")).any()
    scale = chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [0, 0.25, 0.5, 0.75, 1]
    assert len(win_matrix_plot(square(16)).layer) == 1
    with pytest.raises(UsageError, match="same models"):
        win_matrix_plot(matrix.iloc[:, ::-1])


def test_a_history_ends_where_the_votes_end_and_is_thinned() -> None:
    table = votes(4, 4000)
    history = elo_history(table)
    chart = history_plot(history)
    lines, ends = rows_of(chart, 0), rows_of(chart, -1)
    assert lines.groupby("model").size().max() <= HISTORY_POINTS
    last = history.groupby("model").tail(1).set_index("model")["rating"]
    assert lines.groupby("model").tail(1).set_index("model")["rating"].to_dict() == last.to_dict()
    first = history.groupby("model").head(1).set_index("model")["rating"]
    assert lines.groupby("model").head(1).set_index("model")["rating"].to_dict() == first.to_dict()
    assert ends["model"].tolist() == last.sort_values(ascending=False).index.tolist()


def test_a_history_of_many_models_names_the_best() -> None:
    specification = history_plot(elo_history(votes(30, 900)), title="Elo").to_dict()
    assert specification["title"]["text"] == f"Elo, the best {HISTORY_NAMED} of 30 models named"
    with pytest.raises(UsageError, match="no votes"):
        history_plot(elo_history(votes(3, 9)).iloc[:0])


@given(st.lists(st.floats(0, 400), min_size=1, max_size=20))
def test_end_labels_never_overlap_and_stay_inside(wanted: list[float]) -> None:
    places = plots._spread_labels(np.sort(np.array(wanted)), 400.0)
    assert places.min() >= -1e-9
    assert places.max() <= 400 + 1e-9
    assert (np.diff(places) >= LINE_PX - 1e-9).all()
    if len(wanted) == 1 or np.diff(np.sort(wanted)).min() >= LINE_PX:
        assert places == pytest.approx(np.sort(wanted))


def test_time_is_used_where_it_is_known() -> None:
    table, start = votes(3, 30), pd.Timestamp("2026-01-01")
    history = elo_history(table)
    iso = [(start + pd.Timedelta(hours=k)).isoformat() + "Z" for k in range(30)]
    seconds = [(start + pd.Timedelta(hours=k)).timestamp() for k in range(30)]
    for times in (iso, seconds, [str(each) for each in seconds]):
        found = timed(history, table.assign(created_at=times))
        assert found["time"].iloc[0] == start
        assert found["time"].iloc[-1] == start + pd.Timedelta(hours=29)
    for useless in (iso[::-1], ["noon", *iso[1:]], [None, *iso[1:]]):
        assert "time" not in timed(history, table.assign(created_at=useless))
    assert "time" not in timed(history, table)
    assert history_plot(timed(history, table.assign(created_at=iso))).to_dict()["layer"][0]["encoding"]["x"][
        "type"
    ] == ("temporal")


def test_files(tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="draws png and svg")
    chart = interval_plot(fit_bradley_terry(votes(3, 60)))
    for name in ("r.png", "r.svg", "r.html"):
        save_chart(chart, tmp_path / name)
    picture = Image.open(io.BytesIO((tmp_path / "r.png").read_bytes()))
    assert picture.width > 1000
    assert len(set(picture.convert("RGB").resize((64, 64)).get_flattened_data())) > 10
    svg = (tmp_path / "r.svg").read_text()
    assert svg.startswith("<svg")
    assert "model-01" in svg
    page = (tmp_path / "r.html").read_text()
    assert "model-01" in page
    assert not re.search(r"""(src|href)=["']https?://""", page)  # nothing is fetched when it is opened
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.png", "r.svg"]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"r\.pdf: the suffix says what to draw; use one of \.png, \.svg, \.html"):
        check_plot(tmp_path / "r.pdf")
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install vl-convert-python"):
        check_plot(tmp_path / "r.png")


def test_nothing_but_plots_loads_altair() -> None:
    code = (
        "import sys, paragone.arena, paragone.arena.bradley_terry, paragone.arena.vote_files, paragone.cli.rate_plan\n"
        "print('altair' in sys.modules, 'vl_convert' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_charts_of_pages_are_as_wide_as_the_page_and_let_it_through() -> None:
    history = elo_history(votes(4, 200))
    events = pd.DataFrame({"vote": [50], "event": ["something"]})
    for chart in (win_matrix_plot(square(5), width=None), history_plot(history, width=None, events=events)):
        specification = chart.to_dict()
        assert "width" not in specification
        assert specification["background"] == "transparent"
        assert isinstance(specification["padding"], dict)
    marks = [layer["mark"]["type"] for layer in specification["layer"]]
    assert marks[:2] == ["rule", "point"]
    banded = history.assign(lower=history["rating"] - 900, upper=history["rating"] + 900)
    layers = history_plot(banded, width=None).to_dict()["layer"]
    assert layers[0]["mark"]["type"] == "area"
    low, high = layers[1]["encoding"]["y"]["scale"]["domain"]
    assert low < banded["lower"].min()
    assert high > banded["upper"].max()


@pytest.mark.parametrize(("kind", "domain"), [("count", [0.0, 3.5, 7.0]), ("residual", [-4.0, -2.0, 0.0, 2.0, 4.0])])
def test_a_matrix_of_counts_and_of_residuals(kind: plots.MatrixKind, domain: list[float]) -> None:
    matrix = square(3) * 4
    matrix.iloc[0, 1] = 7.0
    tips = pd.DataFrame({"model": ["m0"], "against": ["m1"], "votes": ["7"]})
    chart = win_matrix_plot(matrix, kind=kind, width=None, tips=tips, dark=True)
    encoding = chart.to_dict()["layer"][0]["encoding"]
    assert encoding["color"]["scale"]["domain"] == domain
    assert encoding["tooltip"][-1]["field"] == "votes"
    frame = rows_of(chart, 0)
    assert frame.loc[frame["value"] == 7.0, ["extreme", "votes"]].to_numpy().tolist() == [[True, "7"]]


@pytest.mark.parametrize("theme", [plots.LIGHT, plots.DARK])
def test_numbers_on_a_matrix_can_be_read(theme: plots.Theme) -> None:
    values = pd.Series(np.linspace(0, 1, 101))
    scale, other = plots._matrix_scale(values, "score", theme)
    shades = np.array([plots._rgb(colour) for colour in theme.diverging])
    painted = np.stack([np.interp(values, scale.domain, shades[:, channel]) for channel in range(3)], axis=1)
    inks = np.array([plots._rgb(theme.on_extreme if swap else theme.text) for swap in other])
    assert plots._contrast(painted, inks).min() > 3.5
