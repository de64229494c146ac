"""Steps and epochs of a run on prepared pairs, whose stages give a clip more or fewer pairs."""

from __future__ import annotations

from dataclasses import dataclass

from avol.train.recipes import Stage


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """How steps fall into epochs.

    Attributes:
        clips: of the training part.
        batch: pairs of a step.
        stages: of the recipe, the first from epoch 0.
    """

    clips: int
    batch: int
    stages: tuple[Stage, ...]

    def stage(self, epoch: int) -> Stage:
        """The stage that an epoch belongs to."""
        return [stage for stage in self.stages if stage.from_epoch <= epoch][-1]

    def steps_of(self, epoch: int) -> int:
        """Steps of an epoch; its last batch is filled up from its beginning, so no clip is left out."""
        return -(-self.clips * self.stage(epoch).pairs_per_clip // self.batch)

    def first_step(self, epoch: int) -> int:
        """Steps before an epoch."""
        ends = [stage.from_epoch for stage in self.stages[1:]] + [epoch]
        return sum(
            max(0, min(end, epoch) - stage.from_epoch) * self.steps_of(stage.from_epoch)
            for stage, end in zip(self.stages, ends, strict=True)
        )

    def place(self, step: int) -> tuple[int, int]:
        """Epoch of a step, and the step's number in it."""
        stage = [stage for stage in self.stages if self.first_step(stage.from_epoch) <= step][-1]
        epochs, rest = divmod(step - self.first_step(stage.from_epoch), self.steps_of(stage.from_epoch))
        return stage.from_epoch + epochs, rest

    def reached(self, steps: int) -> float:
        """Epochs made after so many steps, as a fraction."""
        epoch, rest = self.place(steps)
        return epoch + rest / self.steps_of(epoch)
