"""The public surface: what is exported exists, is sorted, is documented and is annotated."""

import importlib
import inspect

import pytest

PACKAGES = ["paragone", "paragone.data", "paragone.metrics", "paragone.judges", "paragone.arena"]
CONTRACT = {
    "paragone.metrics": [
        "FeatureStatistics",
        "frechet_distance",
        "kernel_distance",
        "inception_score",
        "precision_recall",
        "compute_metrics",
    ],
    "paragone.arena": ["fit_elo", "fit_bradley_terry", "fit_davidson", "Store", "build_leaderboard"],
    "paragone.judges": ["Judge", "MLLMJudge", "judge_battles"],
    "paragone.data": ["Prompt", "Sample", "Battle", "Vote", "Winner", "GeneratorAdapter", "read_images", "read_videos"],
}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_exists_once(package: str) -> None:
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(CONTRACT.get(package, [])) <= set(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert inspect.getdoc(thing), f"{package}.{name}"
        if inspect.isclass(thing):
            for attribute, member in vars(thing).items():
                if inspect.isfunction(member) and not attribute.startswith("_"):
                    assert inspect.getdoc(getattr(thing, attribute)), f"{package}.{name}.{attribute}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_is_annotated(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            assert signature.return_annotation is not inspect.Signature.empty, name
            for parameter in signature.parameters.values():
                assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name})"
                assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, f"{name} swallows keywords"


def test_an_unknown_name_is_an_attribute_error() -> None:
    import paragone

    with pytest.raises(AttributeError, match="no_such_name"):
        paragone.no_such_name  # noqa: B018
    assert "fit_elo" in dir(paragone)
