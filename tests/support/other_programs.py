"""Models as other programs keep them."""

import hashlib
import json
import os
from pathlib import Path


def in_ollama(folder: Path, name: str, weights: bytes) -> Path:
    """Keep weights as Ollama does, under ``host/namespace/model/tag``, and return the blob."""
    digest = hashlib.sha256(weights).hexdigest()
    blob = folder / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(weights)
    kind = "application/vnd.ollama.image"
    layers = [
        {"mediaType": f"{kind}.template", "digest": "sha256:" + "0" * 64, "size": 5},
        {"mediaType": f"{kind}.model", "digest": f"sha256:{digest}", "size": len(weights)},
    ]
    manifest = folder / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return blob


def in_hub(folder: Path, repository: str, revision: str, file: str, content: bytes) -> Path:
    """Keep a file as the Hugging Face cache does, and return the link; the last revision is the newest."""
    place = folder / f"models--{repository.replace('/', '--')}"
    blob = place / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    snapshot = place / "snapshots" / revision
    age = len(list(snapshot.parent.glob("*")))
    link = snapshot / file
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    os.utime(snapshot, (1_700_000_000 + age, 1_700_000_000 + age))
    return link
