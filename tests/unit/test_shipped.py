"""The signed list of what ships: it fits the tree; nothing altered, added, taken away or signed by another is taken for livecam's own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engines.export import sign
from livecam import _shipped, persona, store
from livecam.cli import main
from livecam.errors import LivecamError, ModelFileError, PersonaError, UsageError
from livecam.store import Store

ROOT = Path(__file__).parents[2]
RENEW = "the signed list does not fit livecam/: with the release key, LIVECAM_RELEASE_KEY=FILE python -m engines export sign (docs/security.md)"


def test_the_list_fits_the_tree_and_is_signed() -> None:
    assert not _shipped.differences(), RENEW
    files = _shipped.released().files
    for folder, least in (("weights/", 6), ("cards/", 9), ("cards/generators/", 3), ("persona/files/", 12), ("capture/demo_data/", 2)):
        assert sum(name.startswith(folder) for name in files) >= least
    assert not [name for name in files if name.endswith((".py", ".html"))]


def test_no_private_key_lies_in_the_repository() -> None:
    marker = b"PRIVATE " + b"KEY--"
    tops = ("livecam", "engines", "tests", "docs", "benchmarks", ".ci")
    files = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file() and path.stat().st_size < 100_000]
    assert len(files) > 100 and not [path for path in files if marker in path.read_bytes()]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small package folder with its own key and a signed list."""
    root = tmp_path / "livecam"
    (root / "weights").mkdir(parents=True)
    (root / "output" / "web_page").mkdir(parents=True)
    (root / "weights" / "a.onnx").write_bytes(b"network")
    (root / "weights" / "b.bin").write_bytes(b"more")
    (root / "code.py").write_text("x = 1\n")
    (root / "output" / "web_page" / "page.js").write_text("1")
    assert sign.sign(Ed25519PrivateKey.generate(), root) == 2
    return root


def test_every_kind_of_change_is_told(tree: Path) -> None:
    assert _shipped.differences(tree) == ()
    (tree / "code.py").write_text("x = 2\n")  # code is no data
    assert _shipped.differences(tree) == ()
    (tree / "weights" / "a.onnx").write_bytes(b"Network")
    (tree / "weights" / "b.bin").unlink()
    (tree / "weights" / "c.bin").write_bytes(b"")
    assert [line.split(",")[0] for line in _shipped.differences(tree)] == [
        "weights/b.bin: missing", "weights/c.bin: not on the list", "weights/a.onnx: altered",
    ]  # fmt: skip


@pytest.mark.parametrize("harm", ["list", "signature", "key", "no list", "no signature", "other list"])
def test_a_list_that_is_not_as_signed_is_none(tree: Path, harm: str, tmp_path: Path) -> None:
    listed, signature, public = (tree / name for name in (_shipped.LIST, _shipped.SIGNATURE, _shipped.PUBLIC_KEY))
    if harm == "list":
        listed.write_bytes(listed.read_bytes().replace(b"[7,", b"[8,"))
    elif harm == "signature":
        signature.write_bytes(bytes(64))
    elif harm == "key":
        public.write_bytes((ROOT / "livecam" / _shipped.PUBLIC_KEY).read_bytes())
    elif harm == "other list":  # the signature of a list that is no list
        key = sign.make_key(tmp_path / "key")
        listed.write_bytes(b"[]")
        signature.write_bytes(key.sign(b"[]"))
        public.unlink()
        with pytest.raises(ModelFileError):
            _shipped.read(tree)
        return
    else:
        (listed if harm == "no list" else signature).unlink()
    with pytest.raises(ModelFileError, match="list of files that ship"):
        _shipped.read(tree)


def test_signing_keeps_to_its_key(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--new-key"):
        sign.sign(Ed25519PrivateKey.generate(), tree)
    path = tmp_path / "release.key"
    key = sign.make_key(path)
    before = _shipped.read(tree).fingerprint
    sign.sign(key, tree, new_key=True)
    assert _shipped.read(tree).fingerprint != before and _shipped.differences(tree) == ()
    assert sign.load_key(path).private_bytes_raw() == key.private_bytes_raw()
    with pytest.raises(UsageError, match="never overwritten"):
        sign.make_key(path)
    if os.name != "nt":
        path.chmod(0o644)
        with pytest.raises(UsageError, match="chmod 600"):
            sign.load_key(path)
    monkeypatch.delenv(sign.VARIABLE, raising=False)
    assert sign.main([]) == 2


@pytest.fixture
def harmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of livecam's cards, weights and personas that stands for the package; to be harmed. The list stays the released one."""
    root = tmp_path / "livecam"
    for folder in ("cards", "weights", "persona/files"):
        shutil.copytree(_shipped.ROOT / folder, root / folder)
    for name in (_shipped.LIST, _shipped.SIGNATURE, _shipped.PUBLIC_KEY):
        shutil.copy(_shipped.ROOT / name, root)
    monkeypatch.setattr(_shipped, "ROOT", root)
    monkeypatch.setattr(store, "CARDS", root / "cards")
    monkeypatch.setattr(store, "WEIGHTS", root / "weights")
    for module in ("_files", "_admit"):
        monkeypatch.setattr(f"livecam.persona.{module}.FOLDER", root / "persona" / "files")
    return root


def test_a_card_that_vouches_for_other_weights_is_not_believed(harmed: Path, tmp_path: Path) -> None:
    def opened() -> Store:
        return Store(tmp_path / "cache", cards=store.read_cards(harmed / "cards"))

    assert opened().read("gaze") == (harmed / "weights" / "gaze.onnx").read_bytes()
    weights = harmed / "weights" / "gaze.onnx"
    card = harmed / "cards" / "gaze.toml"
    digest = store.sha256_of(weights)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    for get in (opened().path, opened().read):
        with pytest.raises(ModelFileError, match="not the one on its card"):
            get("gaze")
    card.write_text(card.read_text().replace(digest, store.sha256_of(weights)))
    for get in (opened().path, opened().read, opened().fetch):
        with pytest.raises(ModelFileError, match="not the file that was released"):
            get("gaze")


def test_an_exchanged_persona_is_not_worn(harmed: Path, tmp_path: Path) -> None:
    assert persona.load("noor").id == "noor"
    files = harmed / "persona" / "files"
    shutil.copy(files / "ada.safetensors", files / "noor.safetensors")
    with pytest.raises(PersonaError, match="not the file that was released"):
        persona.load("noor")
    shutil.copy(files / "ada.safetensors", files / "eve.safetensors")
    with pytest.raises(PersonaError, match="not on the list"):
        persona.load("eve")
    shutil.copy(files / "ada.safetensors", tmp_path / "mine.safetensors")  # files elsewhere are the user's own, to be signed
    with pytest.raises(PersonaError, match="found one without a signature"):
        persona.load(tmp_path / "mine.safetensors")


def test_files_that_cannot_be_read_or_lie_elsewhere(tmp_path: Path) -> None:
    _shipped.check(tmp_path / "any", b"thing")
    with pytest.raises(LivecamError, match="cannot be read"):
        _shipped.check_file(_shipped.ROOT / "weights" / "gone.onnx")


def test_verify_tells_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["models", "verify", "gaze"])
    assert not ended.value.code
    assert f"{len(_shipped.released().files)} files as signed, key {_shipped.released().fingerprint}" in capsys.readouterr().out
