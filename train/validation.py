"""What a network answers to fixed batches of held-out material, summed up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avol.train.metrics import correspondence_accuracy, peak_position, quarter_of, ranking_auc


class ValidationAnswers:
    """Collects answers batch by batch: a short last batch weighs no more than it holds."""

    def __init__(self) -> None:
        self._loss_sum, self._pictures = 0.0, 0
        self._true: list[NDArray[np.float32]] = []
        self._false: list[NDArray[np.float32]] = []
        self._hits: list[bool] = []

    def add_pairs(self, loss: float, map_logits: Tensor, matches: Tensor, known: Tensor) -> None:
        """Take the mean loss of a batch and its map logits ``N x M x GH x GW``."""
        scores = map_logits.amax(dim=(2, 3)).float()
        self._true.append(scores[matches & known].cpu().numpy())
        self._false.append(scores[~matches & known].cpu().numpy())
        self._loss_sum, self._pictures = self._loss_sum + loss * len(map_logits), self._pictures + len(map_logits)

    def add_quarters(self, map_logits: Tensor, quarters: Tensor) -> None:
        """Take the map logits ``N x N x GH x GW`` of mosaics; sound ``n`` has its source in picture ``n``."""
        maps = map_logits.diagonal().permute(2, 0, 1).float().cpu().numpy()
        found = [quarter_of(peak_position(cells)) for cells in maps]
        self._hits += [one == other for one, other in zip(found, quarters.tolist(), strict=True)]

    def record(self) -> dict[str, float]:
        """The figures by name, 0..1 but for the loss; those that were asked for."""
        figures: dict[str, float] = {}
        true, false = (np.concatenate([*scores, np.zeros(0, np.float32)]) for scores in (self._true, self._false))
        if self._pictures:
            figures["validation_loss"] = self._loss_sum / self._pictures
        if len(true) and len(false):
            figures["validation_accuracy"] = correspondence_accuracy(true, false, threshold=0.0)
            figures["validation_auc"] = ranking_auc(true, false)
        if self._hits:
            figures["validation_right_quarter"] = float(np.mean(self._hits))
        return figures
