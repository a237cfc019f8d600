"""Make vectors of questions and concepts from their wording, in one space, for `CalibratedDKT`.

    python experiments/text_vectors.py --root DIR --out vectors
    python -m lpr_lightning fit --config configs/calibrated_dkt.yaml --config configs/data/dbe_kt22.yaml \\
        --data.root DIR --model.embeddings vectors/questions.safetensors \\
        --model.concept_embeddings vectors/concepts.safetensors

Reads DBE-KT22, whose questions come with their wording and whose concepts are described. The vectors are latent
semantic analysis: word counts weighted by rarity, each text scaled to length 1, the first `--width` singular vectors
scaled by their singular values. No answer is looked at. Files of vectors from a sentence encoder have the same form
(see `lpr_lightning.vector_files`).
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lpr_lightning.cache import atomic_write
from lpr_lightning.datamodules.dbe_kt22 import DBEKT22
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.errors import SettingError

_TAG, _WORD = re.compile(r"<[^>]*>"), re.compile(r"[a-z]{2,}")


def latent_semantics(texts: list[str], width: int) -> Tensor:
    """Return one vector for each text, [len(texts), width]; texts without a common word get a small constant one.

    Words of a single text are left out, as they make texts neither alike nor unlike.

    >>> alike = latent_semantics(["a red car", "a red bus", "green tea", "green tea leaf"], 2)
    >>> bool(alike[0] @ alike[1] > alike[0] @ alike[2])
    True
    """
    words = [_WORD.findall(_TAG.sub(" ", text.lower())) for text in texts]
    spread: dict[str, int] = {}
    for word in (word for one in words for word in set(one)):
        spread[word] = spread.get(word, 0) + 1
    column = {word: number for number, word in enumerate(sorted(word for word, count in spread.items() if count > 1))}
    if min(len(texts), len(column)) < width:
        raise SettingError("width", width, f"at most {min(len(texts), len(column))}, the texts have no more directions")
    weights = torch.zeros(len(texts), len(column), dtype=torch.float64)
    for row, one in enumerate(words):
        for word in one:
            if word in column:
                weights[row, column[word]] += torch.log(torch.tensor(len(texts) / spread[word]))
    weights /= weights.norm(dim=1, keepdim=True).clamp_min(1e-9)
    left, size, _ = torch.linalg.svd(weights, full_matrices=False)
    vectors = (left * size)[:, :width].float()
    return torch.where(vectors.norm(dim=1, keepdim=True) > 1e-6, vectors, 1e-3)


def main(words: list[str] | None = None) -> None:
    """Read the texts, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of DBE-KT22's CSV files")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("vectors"))
    options = parser.parse_args(words)
    data = DBEKT22(options.root)
    concepts = read_columns(data.find(options.root)["concepts"], ("name", "description"))
    described = dict(zip(concepts.cells("name"), concepts.cells("description")))
    texts = [f"{name} {described.get(name, '')}" for name in data.concept_names]
    vectors = latent_semantics([*data.item_texts, *texts], options.width)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, ids, part in (
        ("questions", data.item_names, vectors[: data.num_items]),
        ("concepts", data.concept_names, vectors[data.num_items :]),
    ):
        with atomic_write(options.out / f"{name}.safetensors") as temporary:
            save_file({"vectors": part.contiguous()}, temporary, {"ids": json.dumps(ids)})
        print(f"{options.out / name}.safetensors: {len(ids)} vectors of width {options.width}")


if __name__ == "__main__":
    main()
