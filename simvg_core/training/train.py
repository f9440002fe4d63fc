"""The training loop: AdamW, warm-up and cosine, clipping, EMA, bf16; resumes exactly; bounded by steps or minutes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from simvg_core.configuration import SimVGConfig
from simvg_core.errors import CheckpointError, ConfigurationError
from simvg_core.lineworld.language import Grammar
from simvg_core.lineworld.vocabulary import COLORS, NUM_DENSE_KINDS
from simvg_core.model import SimVGForGrounding
from simvg_core.processing import SimVGProcessor
from simvg_core.text import FastPieces
from simvg_core.training.data import Batch, BatchMaker, LineSet, make_executor, model_inputs, prefetch
from simvg_core.training.evaluate import outcomes_of
from simvg_core.training.metrics import auc, summary
from simvg_core.training.runlog import RunLog
from simvg_core.training.settings import TrainSettings
from simvg_core.training.tokenizer import build_tokenizer

CHECKPOINT = "checkpoint.pt"


@dataclass
class Progress:
    """Where a run is; saved with every checkpoint."""

    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    round_tasks: list[tuple[int, list[str]]] | None = None  # what is left of the current round
    best: float = -1.0


def model_config(settings: TrainSettings) -> SimVGConfig:
    """The small line model with the sizes of our tokenizer and truth."""
    sizes: dict[str, Any] = {
        "vocab_size": build_tokenizer().get_vocab_size(),
        "num_kinds": NUM_DENSE_KINDS,
        "num_colors": len(COLORS),
    }
    return SimVGConfig.line_small(**{**sizes, **settings.model})


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms, embeddings and positions do not."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or "embed" in name or "position" in name
        (free if plain else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]


class Trainer:
    """One run, in one process.

    Args:
        settings: what to do.
        resume: go on from the run's checkpoint instead of starting anew.
        clock: seconds, for the minutes of the schedule.
        on_step: told after every step (step, loss terms); for tests and progress displays.

    Raises:
        ConfigurationError, DataError, CheckpointError: wrong settings, no pictures, no checkpoint to resume.
    """

    def __init__(
        self,
        settings: TrainSettings,
        *,
        resume: bool = False,
        clock: Callable[[], float] = time.monotonic,
        on_step: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        self.settings, self.clock, self.on_step = settings, clock, on_step
        self.device = _device(settings.device)
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.folder = Path(settings.output)
        self.sets = [LineSet(Path(folder)) for folder in (*settings.data, *settings.first_data)]
        self.config = model_config(settings)
        self.model = SimVGForGrounding(self.config)
        torch.nn.Module.to(self.model, self.device)  # the method of transformers is untyped
        if settings.start_from is not None:
            start = SimVGForGrounding.from_pretrained(settings.start_from)
            self.model.load_state_dict(start.state_dict())
        self.ema = copy.deepcopy(self.model)
        self.ema.train(False)
        self.ema.requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, settings.weight_decay),
            lr=settings.learning_rate,
            betas=settings.betas,
            fused=True,
        )
        self.progress = Progress()
        grammar = Grammar(max_targets=settings.max_targets)
        self.makers = [
            BatchMaker(one, self.config, settings.augmentation, grammar, settings.queries, settings.seed)
            for one in self.sets
        ]
        if resume:
            self._load()
        elif (self.folder / CHECKPOINT).exists():
            raise ConfigurationError(f"{self.folder} already holds a run; resume it or choose another output folder.")

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> Path:
        """Trains to the end and writes the EMA model; returns its folder."""
        settings, progress = self.settings, self.progress
        self.folder.mkdir(parents=True, exist_ok=True)
        executor = make_executor(settings.workers, settings.worker_processes)
        started = self.clock() - progress.seconds
        evaluated = progress.seconds
        logged = self.clock()
        with RunLog(self.folder, asdict(settings)) as log:
            log.note("start", step=progress.step, parameters=sum(p.numel() for p in self.model.parameters()))
            self.model.train()
            try:
                for batch in self._batches(executor):
                    terms, rate, norm = self._step(batch)
                    progress.step += 1
                    progress.seconds = self.clock() - started
                    if self.on_step is not None:
                        self.on_step(progress.step, terms)
                    if progress.step % settings.log_steps == 0:
                        now = self.clock()
                        speed = settings.log_steps * settings.batch_size / max(1e-9, now - logged)
                        logged = now
                        log.scalars(
                            "train", progress.step, **terms, rate=rate, norm=norm, pictures_per_second=speed,
                            minutes=progress.seconds / 60, share=self.share(),
                        )  # fmt: skip
                    done = self.share() >= 1.0
                    if progress.step % settings.checkpoint_steps == 0 or done:
                        self.save()
                    if done or progress.seconds - evaluated > settings.evaluate_minutes * 60:
                        evaluated = progress.seconds
                        self._evaluate(log)
                    if done:
                        break
            finally:
                if executor is not None:
                    executor.shutdown(cancel_futures=True)
            folder = self.write_model()
            log.note("end", step=progress.step, model=str(folder))
        return folder

    def share(self) -> float:
        """How much of the run is done, 0 … 1."""
        settings, progress = self.settings, self.progress
        steps = 0.0 if settings.max_steps is None else progress.step / settings.max_steps
        minutes = 0.0 if settings.max_minutes is None else progress.seconds / 60 / settings.max_minutes
        return max(steps, minutes)

    def _batches(self, executor: Any) -> Iterator[Batch]:
        progress = self.progress
        while True:
            if not progress.round_tasks:
                progress.round_tasks = self._round()
                progress.epoch += 1
            epoch = progress.epoch
            work = [(place, names, epoch) for place, names in progress.round_tasks]
            for batch in prefetch(_Make(self.makers), work, executor):
                progress.round_tasks = progress.round_tasks[1:]
                yield batch

    def _round(self) -> list[tuple[int, list[str]]]:
        """Up to `round_steps` batches of what the folders hold now; first data fills what the main sets leave over."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, self.progress.epoch))
        main: list[tuple[int, list[str]]] = []
        first: list[tuple[int, list[str]]] = []
        pictures = 0
        for place, one in enumerate(self.sets):
            is_main = place < len(settings.data)
            names = one.names(may_be_empty=bool(settings.first_data))
            pictures += len(names) if is_main else 0
            size = settings.batch_size
            order = np.resize(rng.permutation(len(names)), max(size, len(names) // size * size) if names else 0)
            tasks = [(place, [names[i] for i in order[at : at + size]]) for at in range(0, len(order), size)]
            (main if is_main else first).extend(tasks)
        chosen = [main[i] for i in rng.permutation(len(main))[: settings.round_steps]]
        if self.share() < settings.first_share or pictures < settings.first_until:
            left = settings.round_steps - len(chosen)
            chosen += [first[i] for i in rng.permutation(len(first))[:left]]
        return [chosen[i] for i in rng.permutation(len(chosen))]

    def _step(self, batch: Batch) -> tuple[dict[str, float], float, float]:
        settings = self.settings
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        inputs = model_inputs(batch, self.config, self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16"):
            out = self.model(**inputs)
        loss = cast(Tensor, out.loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        if not bool(torch.isfinite(norm)):
            raise ArithmeticError(
                f"the loss is no longer finite at step {self.progress.step + 1}; resume with a lower learning_rate."
            )
        self.optimizer.step()
        self._average()
        terms = {name: float(term.detach()) for name, term in (out.loss_terms or {}).items()}
        return {"loss": float(loss.detach()), **terms}, rate, float(norm)

    def _rate(self) -> float:
        settings = self.settings
        warm = min(1.0, (self.progress.step + 1) / max(1, settings.warmup_steps))
        return settings.learning_rate * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, self.share()))) / 2)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.settings.ema, (self.progress.step + 1) / (self.progress.step + 10))
        averaged: list[Tensor] = list(self.ema.parameters())
        current: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for kept, buffer in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            kept.copy_(buffer)

    def _evaluate(self, log: RunLog) -> None:
        if self.settings.validation is None:
            return
        lines = LineSet(Path(self.settings.validation))
        if not lines.names(may_be_empty=True):
            log.note("validation skipped", step=self.progress.step, reason=f"{lines.folder} holds no picture yet")
            return
        outcomes = outcomes_of(self.ema, lines, limit=self.settings.evaluate_pictures)
        scores = summary(outcomes, self.config.score_threshold)
        for noun in ("missing_bolt", "loose_bolt", "crooked_label", "stain", "cap"):
            own = [outcome for outcome in outcomes if outcome.noun == noun]
            scores[f"auc_{noun}"] = auc(
                [outcome.score for outcome in own if len(outcome.truth)],
                [outcome.score for outcome in own if not len(outcome.truth)],
            )
        log.scalars("validation", self.progress.step, **scores)

    # -- files ---------------------------------------------------------------------------------------------------

    def write_model(self) -> Path:
        """The averaged model, its config and tokenizer, as `from_pretrained` reads them."""
        folder = self.folder / "model"
        self.ema.save_pretrained(folder)
        SimVGProcessor(self.config, FastPieces(build_tokenizer())).save_pretrained(folder)
        return folder

    def save(self) -> None:
        """Everything that decides the next step; replaced in one move, so that a kill leaves the old or the new one."""
        path = self.folder / CHECKPOINT
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "random": torch.get_rng_state(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def _load(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist; start the run without --resume.")
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this run's settings ({error}).") from error
        torch.set_rng_state(state["random"].cpu())
        self.progress = Progress(**state["progress"])


class _Make:
    """Sends a task to the maker of its set; picklable."""

    def __init__(self, makers: list[BatchMaker]) -> None:
        self.makers = makers

    def __call__(self, task: tuple[int, list[str], int]) -> Batch:
        place, names, epoch = task
        return self.makers[place]((names, epoch))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"device={name!r} but torch sees no GPU; use device: cpu.")
    return torch.device(name)
