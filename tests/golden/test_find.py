"""Where a model is sought by its name: ./models, $QUERN_MODELS, the Hugging Face cache with its links."""

import shutil

import golden_roots
import pytest

QWEN2, QWEN3 = (golden_roots.OWN.golden / "models" / name for name in ("qwen2-f32-tied", "qwen3-bf16-window-sharded"))


@pytest.fixture
def places(tmp_path):
    """An empty place for each, and what tells quern of them."""
    for name in ("cwd/models", "own", "hub"):
        (tmp_path / name).mkdir(parents=True)
    return {"cwd": tmp_path / "cwd", "env": {"QUERN_MODELS": str(tmp_path / "own"), "HF_HUB_CACHE": str(tmp_path / "hub")}}


def cached(places, organisation, name, model):
    """The model as huggingface_hub keeps it: blobs, and a snapshot of links that refs/main names."""
    root = places["cwd"].parent / "hub" / f"models--{organisation}--{name}"
    blobs, snapshot = root / "blobs", root / "snapshots" / "0123abc"
    for folder in (blobs, snapshot, root / "refs"):
        folder.mkdir(parents=True)
    (root / "refs" / "main").write_text("0123abc")
    for i, file in enumerate(f for f in sorted(model.iterdir()) if f.is_file()):
        shutil.copy(file, blobs / str(i))
        (snapshot / file.name).symlink_to(f"../../blobs/{i}")


def architecture(quern, name, places):
    return quern.json("inspect", name, "--json", **places)["architecture"]


def test_order_of_places(quern, places):
    cached(places, "Qwen", "tiny", QWEN2)
    assert architecture(quern, "tiny", places) == "qwen2"
    shutil.copytree(QWEN3, places["cwd"].parent / "own" / "tiny")
    assert architecture(quern, "tiny", places) == "qwen3"
    shutil.copytree(QWEN2, places["cwd"] / "models" / "tiny")
    assert architecture(quern, "tiny", places) == "qwen2"


def test_names_in_the_cache(quern, places):
    cached(places, "Qwen", "Tiny-0.1B", QWEN3)
    cached(places, "other", "Tiny-0.1B", QWEN2)
    for name in ("Tiny-0.1B", "tiny-0.1b", "Qwen/Tiny-0.1B"):
        assert architecture(quern, name, places) == "qwen3"
    assert architecture(quern, "other/Tiny-0.1B", places) == "qwen2"
    # Shards are links, and run as files do.
    assert len(quern.json("run", "Qwen/Tiny-0.1B", "--tokens", "1 2", "-n", 3, "--json", **places)["tokens"]) <= 3


def test_what_is_nowhere_names_the_places(quern, places):
    line = quern.refused("run", "tiny", "x", **places)
    for place in ("tiny", "./models/tiny", places["env"]["QUERN_MODELS"], places["env"]["HF_HUB_CACHE"]):
        assert place in line
    assert "expected a name" in quern.refused("run", "", "x", **places)
