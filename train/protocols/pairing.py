"""Whose sound is lent to whom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.train.protocols.samples import AnnotatedSample


def foreign_partners(samples: list[AnnotatedSample], rng: np.random.Generator) -> tuple[NDArray[np.int64] | None, str]:
    """For every sample another one, of another video and, where classes are known, of another class.

    Returns:
        Positions ``N``, and a note for the reader; None where there is no other video at all.
    """
    groups = np.array([sample.group for sample in samples])
    labels = np.array([sample.label for sample in samples])
    if len(set(groups)) < 2:
        return None, "another clip's sound: not measured, all samples are of one video"
    partners = np.zeros(len(samples), np.int64)
    alike = 0
    for number in range(len(samples)):
        others = np.flatnonzero((groups != groups[number]) & (labels != labels[number]))
        if others.size == 0:
            others = np.flatnonzero(groups != groups[number])
            alike += 1
        partners[number] = rng.choice(others) if others.size else -1
    if not alike:
        return partners, ""
    if labels[0] == "" and len(set(labels)) == 1:
        return partners, "another clip's sound: the annotations name no classes, so it may be of the same class"
    return partners, f"another clip's sound: for {alike} samples there is none of another class, it is of the same one"
