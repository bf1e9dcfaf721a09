"""Stop training where a score of the validation does not improve any more."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..errors import UserError

#: Parts of names of scores: the smaller the better, then the larger the better.
_LESS = ("loss", "hd95")
_GREATER = ("iou", "dice", "jaccard", "acc", "fscore", "precision", "recall", "itivity", "ificity")


def better_rule(score: str) -> str:
    """``'less'`` or ``'greater'``: which value of a score is better, by its name.

    Raises:
        ValueError: The name does not tell.
    """
    for rule, parts in (("less", _LESS), ("greater", _GREATER)):
        if any(part in score.lower() for part in parts):
            return rule
    raise ValueError(f"{score!r} does not tell whether less or greater is better: give the rule")


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """mmengine's ``EarlyStoppingHook`` whose count goes on in a resumed run.

    mmengine's hook counts from zero again. An unknown score is an error here, not a warning. A
    score that stays equal has not improved.

    Args:
        monitor: Name of the score.
        rule: ``'less'`` or ``'greater'``; None for :func:`better_rule`.
        min_delta: Smallest difference that is an improvement.
        **kwargs: Arguments of ``EarlyStoppingHook``: ``patience``, the number of validations
            without improvement after which training stops, ``stopping_threshold`` and
            ``check_finite``.

    Raises:
        ValueError: ``rule`` is another word, or None and not told by the name.
    """

    #: Before the checkpoint hook, whose best checkpoint must hold the count.
    priority = "LOW"

    def __init__(
        self, monitor: str, rule: str | None = None, min_delta: float = 1e-9, **kwargs: Any
    ) -> None:
        super().__init__(monitor, rule or better_rule(monitor), min_delta, **kwargs)
        self._why = ""

    def before_train(self, runner: Runner) -> None:
        """Go on with the count in the checkpoint, which may have reached its end."""
        state = runner.message_hub.get_info(self._key)
        if not isinstance(state, dict):
            return
        self.best_score = float(state["best_score"])
        self.wait_count = int(state["wait_count"])
        if self.wait_count >= self.patience:
            self._stop(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Count, and stop training if it is time.

        Raises:
            UserError: No metric measures the score; the message names those that there are.
        """
        if self.monitor not in (metrics or {}):
            known = ", ".join(metrics or {}) or "none"
            raise UserError(f"early stopping by {self.monitor!r}, which is not measured: {known}")
        assert metrics is not None
        score = float(metrics[self.monitor])
        stops, _ = self._check_stop_condition(score)
        state = dict(best_score=self.best_score, wait_count=self.wait_count)
        runner.message_hub.update_info(self._key, state)
        if stops:
            self._stop(runner, score)

    def after_train(self, runner: Runner) -> None:
        """Say why training has stopped, and where the best checkpoint is."""
        if not self._why:
            return
        info = runner.message_hub.runtime_info
        best = info.get(f"best_ckpt_{self.monitor}") or info.get("best_ckpt")
        where = f"; the best checkpoint is {best}" if best else ""
        runner.logger.info(f"Training stopped early: {self._why}{where}")

    @property
    def _key(self) -> str:
        return f"early_stopping_{self.monitor}"

    def _stop(self, runner: Runner, score: float | None = None) -> None:
        runner.train_loop.stop_training = True
        if self.wait_count >= self.patience:
            times = "1 validation" if self.wait_count == 1 else f"{self.wait_count} validations"
            self._why = f"{self.monitor} has not improved on {self.best_score:.4g} in {times}"
        else:
            self._why = f"{self.monitor} is {score}"
