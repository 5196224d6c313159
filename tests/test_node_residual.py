"""Routes with `verify: residual`: what still holds a value of its original goes to quarantine, not to a destination."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.dataset import Dataset

from tests import samples
from tests.harness import AE_TITLE, eventually, running_node
from tests.test_node_acknowledge import store, written

LARGE = 12 << 20
NAME = "Zwiebelkraut"


def image(name: str, kept: bytes = b"", pixels: int = 512) -> Dataset:
    """An image of somebody, with a private value that the profile keeps."""
    ds = samples.image(name, pixels=pixels)
    ds.PatientName = f"{NAME}^Anna"
    if kept:
        ds.private_block(0x0029, "MAKER", create=True).add_new(0x10, "OB", kept)
    return ds


def settings(folder: Path, **route: Any) -> dict[str, Any]:
    """A node whose only route looks for residuals, with a profile that keeps too much."""
    profile = folder / "profile.yaml"
    rule = {"private": "MAKER", "action": "keep"}
    profile.write_text(yaml.safe_dump({"pixels": "pass", "rules": [rule]}), encoding="utf-8")
    plain = {"called_ae_title": AE_TITLE, "project": "test", "profile": str(profile), "destinations": ["disk"]}
    return {"routes": [{**plain, "verify": "residual", **route}], "processes": 1}


@pytest.mark.parametrize("pixels", [512, LARGE], ids=["in memory", "large"])
@pytest.mark.parametrize("acknowledge", ["committed", "deidentified"])
@pytest.mark.parametrize("encrypt", [False, True], ids=["open", "sealed"])
def test_a_residual_is_not_delivered(tmp_path: Path, pixels: int, acknowledge: str, encrypt: bool) -> None:
    """In memory, large, sealed, acknowledged early or late: kept, with the attribute's tag and never the value."""
    with running_node(tmp_path / "node", **settings(tmp_path, acknowledge=acknowledge)) as node:
        node.kill()
        node.config["spool"]["encrypt"] = encrypt
        node.start()
        dirty = samples.encoded(image("dirty", f"of {NAME} ".encode("utf-16-le"), pixels))
        assert store(node, written(tmp_path, dirty)) == 0
        assert store(node, written(tmp_path, samples.encoded(image("clean", b"of no one", pixels)))) == 0
        eventually(lambda: len(node.delivered()) == 1 and node.is_at_rest())
        assert node.quarantined() == [("residual-value", "(0010,0010)")]
        (entry,) = node.in_spool("quarantine")
        assert encrypt or entry.read_bytes().endswith(dirty[-512:])
        assert NAME not in node.log_path.read_text(encoding="utf-8")


def test_without_it_nothing_is_looked_for(tmp_path: Path) -> None:
    """The default: what the profile keeps is delivered; and a release after a change of the profile goes through."""
    with running_node(tmp_path / "node", **settings(tmp_path)) as node:
        assert store(node, written(tmp_path, samples.encoded(image("1", NAME.encode())))) == 0
        eventually(node.quarantined)
        node.kill()
        (tmp_path / "profile.yaml").write_text("pixels: pass\n", encoding="utf-8")
        node.start()
        assert node.command("quarantine", "release", "--all").returncode == 0
        eventually(lambda: len(node.delivered()) == 1)
        node.kill()
        node.config.update(settings(tmp_path, verify="none"))
        node.start()
        assert store(node, written(tmp_path, samples.encoded(image("2", NAME.encode())))) == 0
        eventually(lambda: len(node.delivered()) == 2)
        assert any(NAME.encode() in path.read_bytes() for path in node.delivered())
