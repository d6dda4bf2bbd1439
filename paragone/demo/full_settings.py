"""What the numbers of `paragone demo --full` depend on."""

from __future__ import annotations

from dataclasses import dataclass

from paragone.demo.contestants import DemoSettings


@dataclass(frozen=True, slots=True)
class FullSettings(DemoSettings):
    """The settings of the full demo; its steps of training stand in fixed proportions to `training_steps`."""

    n_battles: int = 10_000  # of pictures
    n_clip_battles: int = 600
    n_edit_battles: int = 600
    clips_per_prompt: int = 2  # of 80 prompts
    edits_per_digit: int = 10  # source pictures
    edits_per_prompt: int = 2
    n_generations: int = 6  # of models that learn from each other

    @property
    def autoencoder_steps(self) -> int:
        """Batches of clips for the causal autoencoder."""
        return self.training_steps // 2

    @property
    def video_steps(self) -> tuple[int, int]:
        """An early and the last training step of the video flow."""
        return self.training_steps // 6, self.training_steps * 5 // 3

    @property
    def n_clips(self) -> int:
        """Clips that the video flow learns from."""
        return min(8192, 2 * self.training_steps)

    @property
    def generation_steps(self) -> int:
        """Training steps of each generation."""
        return self.training_steps // 2


def full(settings: DemoSettings) -> FullSettings:
    """The settings, which are those of a full demo."""
    assert isinstance(settings, FullSettings)
    return settings
