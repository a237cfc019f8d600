"""Which knowledge concepts say the same in other words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.errors import checked_or_none
from lpr_lightning.functional.concept_clusters import cluster_vectors, merge_equal_names
from lpr_lightning.functional.text_rivals import tf_idf
from lpr_lightning.vector_files import load_clusters


@dataclass(frozen=True)
class ConceptClusters:
    """Clusters of concepts whose names are near each other, A() of ExRec (Ozyurt et al. 2025, eq. 6).

    HDBSCAN with the cosine distance, as in the paper, on the vectors of a sentence encoder or, without one, on rarity
    weighted counts of the names' letter groups. A concept that is near no other is a cluster of its own; names that
    differ in case or spaces alone are always one cluster.

    Args:
        file: clusters as a JSON file `{cluster: [concept names]}`, in the place of all this.
        encoder: path or hub name of a sentence encoder; None for letter groups, which need no download.
        min_size: least size of a cluster; None leaves every concept by itself, as fits a list made by hand.

    Raises:
        SettingError: `min_size` is below 2.
    """

    file: str | None = None
    encoder: str | None = None
    min_size: int | None = 2

    def __post_init__(self) -> None:
        checked_or_none("min_size", self.min_size, 2)

    def of(self, names: Sequence[str]) -> Tensor:
        """Return the cluster of each concept, [N] int64, by the number of its first concept."""
        if self.file is not None:
            found = load_clusters(self.file, {name: number for number, name in enumerate(names)}, len(names))
        elif self.min_size is None or len(names) < 2 * self.min_size:
            found = torch.arange(len(names))
        else:
            found = cluster_vectors(self._vectors(names), self.min_size)
        return merge_equal_names(found, names)

    def _vectors(self, names: Sequence[str]) -> Tensor:
        if self.encoder is None:
            return tf_idf(names, letters=True)
        from lpr_lightning.nets.text_encoder import PretrainedEncoder, TextEncoder

        net = TextEncoder(PretrainedEncoder(self.encoder), pooling="mean").eval()
        with torch.no_grad():
            vectors: Tensor = net(list(names))
        return vectors
