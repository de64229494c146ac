"""What the model's numbers for one frame say: an entry of the timeline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avol.runtime.timeline import VALUE_DECIMALS, TimelineFrame, peak_and_box


def finding(time_seconds: float, score: float, map: NDArray[np.float32] | None, threshold: float) -> TimelineFrame:
    """The entry of an analysed frame, decided on the score as it is written: a timeline agrees with itself.

    Args:
        time_seconds: of the frame.
        score: calibrated, 0..1.
        map: float32 ``GH x GW``, calibrated; None from systems that cannot tell where.
        threshold: score from which the frame counts as sounding.
    """
    score = round(score, VALUE_DECIMALS)
    sounding, peak, box = score >= threshold, None, None
    if map is not None:
        values = map.astype(np.float64)
        highest = float(np.fmax.reduce(values, axis=None, initial=0.0))  # may be below the threshold by the rounding
        peak, box = peak_and_box(values, min(threshold, highest))
    return TimelineFrame(
        time_seconds=time_seconds,
        score=score,
        sounding=sounding,
        peak=peak,
        box=box if sounding else None,
        map=map,
    )
