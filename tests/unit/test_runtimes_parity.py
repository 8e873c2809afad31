"""The gate before fast runtimes: what passes, what is refused with which numbers, and that nothing gets around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_models
import pytest
from numpy.typing import NDArray

from livecam import registry, runtimes
from livecam.errors import ParityError, StageError
from livecam.runtimes import Runtime, TensorSpec, _engines, _parity

Outputs = dict[str, NDArray[Any]]


class Faulty:
    """A runtime over another one, whose outputs `harm` changes."""

    approximate = True

    def __init__(self, inner: Runtime, harm: Callable[[Outputs], Outputs]) -> None:
        self._inner, self._harm = inner, harm
        self.inputs, self.outputs, self.runs = inner.inputs, inner.outputs, 0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Outputs:
        self.runs += 1
        return self._harm({name: array.copy() for name, array in self._inner.run(inputs).items()})


def noisy(sigma: float) -> Callable[[Outputs], Outputs]:
    rng = np.random.default_rng(3)
    return lambda outputs: {name: array + rng.normal(0, sigma, array.shape) for name, array in outputs.items()}


def spoilt(outputs: Outputs) -> Outputs:
    next(iter(outputs.values())).flat[7] = np.nan
    return outputs


def endless(outputs: Outputs) -> Outputs:
    next(iter(outputs.values())).flat[7] = np.inf
    return outputs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return onnx_models.generator(tmp_path / "generator.onnx", 32, length=8)


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_engines, "key_file", lambda: tmp_path / "config" / "engines.key")
    return tmp_path / "config"


def test_real_runtimes_pass(model: Path) -> None:
    wanted = _parity.reference(runtimes.load("onnx", model))
    for name in ("onnx", "openvino"):
        found = _parity.check(runtimes.load(name, model), wanted, name)
        assert [p.output for p in found] == ["output"] and found[0].psnr_db > 100 and found[0].cosine > 0.999999


@pytest.mark.parametrize(("sigma", "passes"), [(1e-4, True), (3e-3, True), (0.05, False), (1.0, False)])
def test_noise_is_measured(model: Path, sigma: float, passes: bool) -> None:
    plain = runtimes.load("onnx", model)
    wanted = _parity.reference(plain)
    found = _parity.measure(Faulty(plain, noisy(sigma)).run, wanted)[0]
    peak = max(np.ptp([o["output"] for o in wanted.outputs]), np.abs([o["output"] for o in wanted.outputs]).max())
    assert found.psnr_db == pytest.approx(20 * np.log10(peak / sigma), abs=0.5)
    assert found.passed is passes
    if not passes:
        with pytest.raises(ParityError, match=rf"card was refused: expected cosine >= 0.999 and PSNR >= 40 dB.*output: cosine .*{found.psnr_db:.0f}"):
            _parity.check(Faulty(plain, noisy(sigma)), wanted, "card")


@pytest.mark.parametrize("harm", [spoilt, endless])
def test_one_value_that_is_not_finite_is_enough(model: Path, harm: Callable[[Outputs], Outputs]) -> None:
    plain = runtimes.load("onnx", model)
    with pytest.raises(ParityError, match="output: NaN or infinity"):
        _parity.check(Faulty(plain, harm), _parity.reference(plain), "card")


def test_a_missing_or_reshaped_output_is_refused(model: Path) -> None:
    plain = runtimes.load("onnx", model)
    wanted = _parity.reference(plain)
    with pytest.raises(ParityError, match=r"expected an output output \[1, 3, 32, 32\], found none"):
        _parity.check(Faulty(plain, lambda _: {}), wanted, "card")
    with pytest.raises(ParityError, match=r"found \(1, 3, 32, 31\)"):
        _parity.check(Faulty(plain, lambda o: {k: v[..., 1:] for k, v in o.items()}), wanted, "card")


def test_the_sign_and_the_scale_count(model: Path) -> None:
    plain = runtimes.load("onnx", model)
    wanted = _parity.reference(plain)
    turned = _parity.measure(Faulty(plain, lambda o: {k: -v for k, v in o.items()}).run, wanted)[0]
    scaled = _parity.measure(Faulty(plain, lambda o: {k: 1.5 * v for k, v in o.items()}).run, wanted)[0]
    assert turned.cosine < -0.99 and not turned.passed
    assert scaled.cosine > 0.9999 and not scaled.passed, "a scale leaves the cosine as it is; PSNR sees it"


def test_sample_inputs_are_fixed_in_range_and_differ() -> None:
    specs = (TensorSpec("x", (1, 3, 24, 40), "float32"), TensorSpec("v", (1, 5), "float32"))
    first, again = (_parity.sample_inputs(specs, {"x": (0.0, 255.0)}) for _ in range(2))
    assert len(first) == _parity.REFERENCES
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[k], other[k]) for k in one)
    assert not np.array_equal(first[0]["x"], first[1]["x"])
    assert first[0]["x"].min() >= 0 and 100 < first[0]["x"].max() <= 255 and first[0]["v"].max() <= 1
    neighbours = np.corrcoef(first[0]["x"][0, 0, :, 1:].ravel(), first[0]["x"][0, 0, :, :-1].ravel())[0, 1]
    assert neighbours > 0.8, "pictures vary smoothly"


def test_references_are_kept_under_seal_and_worked_out_anew_when_altered(model: Path, tmp_path: Path, config_home: Path) -> None:
    made = _engines.reference(model, tmp_path / "compiled")
    kept = _engines.cache(tmp_path / "compiled")
    entry, = kept.entries()
    assert entry.wanted["kind"] == _engines.REFERENCE and config_home.exists()
    before = entry.path.stat().st_mtime_ns
    assert np.array_equal(_engines.reference(model, tmp_path / "compiled").outputs[0]["output"], made.outputs[0]["output"])
    assert entry.path.stat().st_mtime_ns == before
    forged = _parity.Reference(made.inputs, tuple({k: v + 1 for k, v in o.items()} for o in made.outputs))
    entry.path.write_bytes(entry.path.read_bytes()[:300] + forged.to_bytes())
    assert np.array_equal(_engines.reference(model, tmp_path / "compiled").outputs[0]["output"], made.outputs[0]["output"])


def test_load_holds_what_is_approximate_to_the_reference(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = runtimes.load("onnx", model)
    made: list[Faulty] = []

    def member(harm: Callable[[Outputs], Outputs]) -> Any:
        return SimpleNamespace(open=lambda *_: made.append(Faulty(plain, harm)) or made[-1])

    real = registry.load_module
    monkeypatch.setattr(registry, "load_module", lambda room, name: modules.get(name) or real(room, name))
    modules = {"good": member(lambda o: o), "bad": member(spoilt)}
    assert runtimes.load("good", model) is made[-1] and made[-1].runs == _parity.REFERENCES
    with pytest.raises(ParityError, match="bad was refused"):
        runtimes.load("bad", model)


def test_a_reference_of_another_form_is_none() -> None:
    assert _parity.Reference.from_bytes(b"nonsense") is None


def test_what_cannot_run_is_no_parity(model: Path) -> None:
    plain = runtimes.load("onnx", model)
    wanted = _parity.reference(plain)

    def gone(_: Outputs) -> Outputs:
        raise StageError("the card is gone")

    with pytest.raises(StageError, match="gone"):
        _parity.check(Faulty(plain, gone), wanted, "card")
