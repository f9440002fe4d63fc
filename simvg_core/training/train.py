"""The training loop, the same for all kinds of data: mixed precision, averaging, several devices, exact resumption.

The paper's training (arXiv 2409.17531, section 4.1) is this loop with the settings of configs/refcoco-*.yaml and
configs/grefcoco-*.yaml; its losses (section 3.4) are the model's.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from simvg_core.checkpoints import read_torch
from simvg_core.errors import CheckpointError, ConfigurationError, DivergenceError
from simvg_core.execution import has_bfloat16
from simvg_core.model import SimVGForGrounding
from simvg_core.model_folder import rewriting
from simvg_core.processing import SimVGProcessor
from simvg_core.training.data import Batch, make_executor, model_inputs, prefetch
from simvg_core.training.folder import make_folder, writing
from simvg_core.training.grounding_source import GroundingSource, open_grounding_set
from simvg_core.training.heard import count_words, heard_before, heard_by_all, learned_words
from simvg_core.training.processes import Processes, make_processes
from simvg_core.training.progress import Progress, write_state
from simvg_core.training.runlog import RunLog
from simvg_core.training.schedule import build_optimizer, learning_rate
from simvg_core.training.settings import TrainSettings
from simvg_core.training.sources import LineSource, Source
from simvg_core.training.start import load_start, model_config, of_folder, read_tokenizer
from simvg_core.training.validation import Validation
from simvg_core.words import FastPieces

log = logging.getLogger(__name__)
CHECKPOINT, WEIGHTS = "checkpoint.pt", "model.safetensors"
_PARTS = ("model", "ema", "optimizer", "progress")

# A scaled fp16 step that overflows is left out and the scale halved; so many in a row are no accident.
MAX_OVERFLOWS = 50


class Trainer:
    """One run; one of its processes, where a launcher started several.

    Args:
        settings: what to do.
        resume: go on from the run's checkpoint instead of starting anew.
        clock: seconds, for the minutes of the schedule.
        on_step: told after every step (step, loss terms); for tests and progress displays.

    Raises:
        ConfigurationError: settings that this machine or the output folder cannot take.
        DataError, SetError: no pictures, or a set that is not there, be it for training or for validation.
        CheckpointError: no weights to start from, or no checkpoint to resume.
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
        self.processes: Processes = make_processes(settings.device)
        self.device = self.processes.device
        if settings.precision == "fp16" and self.device.type != "cuda":
            raise ConfigurationError(f"precision: fp16 needs a CUDA device, this one is {self.device}; use auto.")
        self.precision = settings.precision
        if self.precision == "auto":
            self.precision = "bf16" if has_bfloat16(self.device) else "fp32"
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.folder = Path(settings.output) if resume else _new_folder(settings.output)
        wanted = settings.validation_set is not None or settings.validation is not None
        self.validation = Validation(settings) if wanted and self.processes.first else None
        self.config = model_config(settings)
        self.pieces = read_tokenizer(settings, self.config)
        self.model = SimVGForGrounding(self.config)
        try:
            torch.nn.Module.to(self.model, self.device)  # the method of transformers is untyped
        except (RuntimeError, AssertionError) as error:  # what torch raises for a device that is not there, or is full
            why = str(error).splitlines()[0]
            raise ConfigurationError(
                f"device={settings.device!r} cannot take the model ({why}); use another, such as cpu."
            ) from error
        self.weights: dict[str, Any] = {}
        if settings.start_from is not None and not resume:
            self.weights = load_start(self.model, Path(settings.start_from), settings.start_part, self.pieces)
            if taken := of_folder(settings):
                self.weights["of_folder"] = taken
                log.info("taken over from %s/config.json: %s; model: wins", settings.start_from, taken)
        self.ema = self.model
        if settings.ema:
            self.ema = copy.deepcopy(self.model)
            self.ema.train(False)
            self.ema.requires_grad_(False)
        if settings.gradient_checkpointing:
            # transformers renames it in version 6
            enable = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        self.optimizer = build_optimizer(self.model, settings)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.overflows = 0
        heard = {} if resume else heard_before(settings.start_from)
        self.progress = Progress(heard=heard, folders=self._folders)
        self.source = self._source()
        if resume:
            self._load()
        self.agreed = dict(self.progress.heard)  # what all processes know to be heard
        self.wrapped = self.processes.wrap(self.model)

    @property
    def step_size(self) -> int:
        """Pictures of one step, all processes and passes together."""
        return self.settings.batch_size * self.settings.accumulation * self.processes.count

    @property
    def _folders(self) -> list[str]:
        return [*self.settings.data, *self.settings.first_data]

    def _source(self) -> Source:
        settings = self.settings
        if settings.data:
            return LineSource(settings, self.config, self.step_size)
        sets = [open_grounding_set(one) for one in settings.sets]
        return GroundingSource(sets, self.config, self.pieces, settings, self.step_size)

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> Path:
        """Trains to the end and writes the averaged model; returns its folder.

        A run that had ended before is not trained on: its model is written where that was not done.

        Raises:
            DivergenceError: the gradients are no longer finite.
            ConfigurationError: the disk is full.
            DataError, TruthError: a picture or record is broken.
        """
        settings, progress = self.settings, self.progress
        if self.ended():
            return self.model_folder if self._is_written() else self.write_model()
        executor = make_executor(settings.workers, settings.worker_processes)
        started = self.clock() - progress.seconds
        evaluated = progress.seconds
        logged, since = self.clock(), 0
        with RunLog(self.folder, asdict(settings), step=progress.step, silent=not self.processes.first) as log:
            parameters = sum(parameter.numel() for parameter in self.model.parameters())
            log.note(
                "start", step=progress.step, parameters=parameters, processes=self.processes.count,
                precision=self.precision, weights=self.weights, left_out=dict(self.source.left_out),
                refused=dict(self.source.refused), divided=dict(self.source.divided),
            )  # fmt: skip
            self.model.train()
            try:
                for batches in self._steps(executor):
                    terms, rate, norm, seconds = self._step(batches, self.clock() - started)
                    progress.step += 1
                    progress.seconds = seconds
                    if self.on_step is not None:
                        self.on_step(progress.step, terms)
                    done = self.ended()
                    since += 1
                    if progress.step % settings.log_steps == 0 or done:
                        now = self.clock()
                        speed = since * self.step_size / max(1e-9, now - logged)
                        logged, since = now, 0
                        log.scalars(
                            "train", progress.step, **terms, rate=rate, norm=norm, pictures_per_second=speed,
                            minutes=progress.seconds / 60, share=self.share(),
                        )  # fmt: skip
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
        self.processes.wait()
        return folder

    def close(self) -> None:
        """Takes leave of the other processes, at the end of this one: no run can follow in it."""
        self.wrapped = self.model
        self.processes.close()

    def ended(self) -> bool:
        """Whether there is no step left to train."""
        return self.share() >= 1.0

    def share(self) -> float:
        """How much of the run is done, 0 … 1."""
        settings, progress = self.settings, self.progress
        steps = 0.0 if settings.max_steps is None else progress.step / settings.max_steps
        minutes = 0.0 if settings.max_minutes is None else progress.seconds / 60 / settings.max_minutes
        epochs = 0.0
        if settings.max_epochs is not None and self.source.epoch_steps is not None:
            epochs = progress.step / (settings.max_epochs * self.source.epoch_steps)
        return max(steps, minutes, epochs)

    def _steps(self, executor: Any) -> Iterator[list[Batch]]:
        """This process's batches, step by step."""
        progress, size, passes = self.progress, self.settings.batch_size, self.settings.accumulation
        while True:
            if not progress.round_tasks:
                progress.round_tasks = self.processes.agree(self.source.round(progress.epoch, self.share()))
                progress.epoch += 1
            work = []
            for place, names in progress.round_tasks:
                starts = [(one * self.processes.count + self.processes.index) * size for one in range(passes)]
                work += [self.source.item(place, names[at : at + size], progress.epoch) for at in starts]
            batches: list[Batch] = []
            for batch in prefetch(self.source.make, work, executor, ahead=max(4, self.settings.workers + 2)):
                batches.append(batch)
                if len(batches) == passes:
                    progress.round_tasks = progress.round_tasks[1:]
                    yield batches
                    batches = []

    def _step(self, batches: list[Batch], seconds: float) -> tuple[dict[str, float], float, float, float]:
        """Loss terms, learning rate, norm of the gradients, and the seconds that all processes agree on."""
        settings, passes = self.settings, len(batches)
        rate = learning_rate(settings, self.progress.step, self.share(), self.source.epoch_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        # All that is random in a step follows from its number, so a resumed run goes on exactly.
        torch.manual_seed((settings.seed * 1_000_003 + self.progress.step) * 1_009 + self.processes.index)
        self.optimizer.zero_grad(set_to_none=True)
        names: list[str] = []
        rows = []
        count_words(self.progress.heard, batches, self.pieces, settings.start_from is None)
        for number, batch in enumerate(batches):
            last = number == passes - 1
            with nullcontext() if last else self.processes.alone(self.wrapped):
                out = self._forward(batch)
                self.scaler.scale(out.loss / passes).backward()
            terms = {"loss": out.loss, **out.loss_terms}
            names = list(terms)
            rows.append(torch.stack([term.detach().float() for term in terms.values()]))
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self._check(bool(torch.isfinite(norm)))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._average()
        row = torch.cat([torch.stack(rows).mean(0), torch.tensor([seconds], device=self.device)])
        values = self.processes.mean(row).tolist()
        return dict(zip(names, values, strict=False)), rate, float(norm), values[-1]

    def _forward(self, batch: Batch) -> Any:
        precision = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        inputs = model_inputs(batch, self.config, self.device)
        with torch.autocast(self.device.type, dtype=precision, enabled=precision is not None):
            return self.wrapped(**inputs)

    def _check(self, finite: bool) -> None:
        """Raises DivergenceError where the gradients show that the run is lost."""
        self.overflows = 0 if finite else self.overflows + 1
        if self.overflows > (MAX_OVERFLOWS if self.scaler.is_enabled() else 0):
            again = "resume" if (self.folder / CHECKPOINT).is_file() else "start again"
            raise DivergenceError(
                f"the gradients are no longer finite at step {self.progress.step + 1} with "
                f"learning_rate={self.settings.learning_rate}; {again} with a lower one."
            )

    @torch.no_grad()
    def _average(self) -> None:
        if self.ema is self.model:
            return
        decay = min(self.settings.ema, (self.progress.step + 1) / (self.progress.step + 10))
        averaged: list[Tensor] = list(self.ema.parameters())
        current: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for kept, buffer in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            kept.copy_(buffer)

    def _evaluate(self, log: RunLog) -> None:
        if self.validation is None:
            return
        if (folder := self.validation.waits_for) is not None:
            log.note("validation skipped", step=self.progress.step, reason=f"{folder} holds no picture yet")
            return
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        scores = self.validation.scores(self.ema, SimVGProcessor(self.config, self.pieces), dtype)
        log.scalars("validation", self.progress.step, **scores)

    # -- files ---------------------------------------------------------------------------------------------------

    def write_model(self) -> Path:
        """The averaged model, its config and tokenizer, as `from_pretrained` reads them.

        Raises ConfigurationError: the disk is full.
        """
        if self.processes.first:
            pieces = self.pieces
            if isinstance(pieces, FastPieces):
                pieces = FastPieces(pieces.tokenizer, learned_words(self.progress.heard))
            with rewriting(self.model_folder) as part, writing(self.model_folder, SafetensorError):
                self.ema.save_pretrained(part)
                SimVGProcessor(self.config, pieces).save_pretrained(part)
        return self.model_folder

    def _is_written(self) -> bool:
        """Whether the model was written after the last checkpoint; that of an earlier end is older."""
        weights = self.model_folder / WEIGHTS
        return weights.is_file() and weights.stat().st_mtime >= (self.folder / CHECKPOINT).stat().st_mtime

    @property
    def model_folder(self) -> Path:
        """Where the averaged model goes."""
        return self.folder / "model"

    def save(self) -> None:
        """Everything that decides the next step, see `write_state`. All processes come here."""
        self.progress.heard = heard_by_all(self.agreed, self.progress.heard, self.processes)
        self.agreed = dict(self.progress.heard)
        if not self.processes.first:
            return
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "scaler": self.scaler.state_dict(),
            "step_size": self.step_size,
            "samples": self.source.fingerprint,
        }
        write_state(state, self.folder / CHECKPOINT)

    def _load(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist; start the run without --resume.")
        anew = f"to begin anew, remove {self.folder} and leave out --resume"
        state = read_torch(path, remedy=anew, device=self.device)
        if lacking := [part for part in _PARTS if not isinstance(state.get(part), dict)]:
            raise CheckpointError(f"{path} is no checkpoint of a training run: it has no {', '.join(lacking)}; {anew}.")
        saved = state.get("step_size", self.step_size)
        if saved != self.step_size:
            raise CheckpointError(
                f"{path} was trained with {saved} pictures per step, this run has {self.step_size} (processes × "
                "batch_size × accumulation); keep the product, or start anew with start_from: its model folder."
            )
        samples, now = state.get("samples"), self.source.fingerprint
        if samples is None and now is not None:  # of an earlier version
            log.warning("%s does not tell its samples; if the sets changed since, begin anew with start_from.", path)
        elif samples != now:
            raise CheckpointError(
                f"{path} was trained with other samples than the sets hold now (added, removed or broken since), and "
                "its steps name them by their places; put the sets back as they were, or start anew with "
                "start_from: its model folder."
            )
        try:
            self.model.load_state_dict(state["model"])
            if self.ema is not self.model:
                self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            if state.get("scaler"):
                self.scaler.load_state_dict(state["scaler"])
            self.progress = Progress.of(state["progress"], self._folders)
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} does not fit this run's settings ({error}); resume with those it was begun with, or {anew}."
            ) from error


def _new_folder(output: str) -> Path:
    """For a run that begins. Raises ConfigurationError where it cannot be written into, or holds a run already."""
    folder = make_folder(Path(output), "output")
    if (folder / CHECKPOINT).exists():
        raise ConfigurationError(f"{folder} already holds a run; resume it or choose another output folder.")
    return folder
