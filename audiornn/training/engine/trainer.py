"""The wiring of Lightning's Trainer."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, SimpleProfiler
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException

from audiornn.errors import ConfigError
from audiornn.runs import RunFolder
from audiornn.training.engine.callbacks import (
    AveragedWeights,
    EarlyStopping,
    HistoryTable,
    KeptWeights,
    MovableCheckpoint,
    OtherProcess,
)
from audiornn.training.engine.loaders import StoreLoaders
from audiornn.training.engine.steps import ClassifierTraining
from audiornn.training.trainer_config import AUTO, PRECISIONS, TrainerConfig


def build_trainer(
    config: TrainerConfig, run_dir: Path, *, monitor: tuple[str, str], tensorboard: bool = True
) -> Trainer:
    """A Lightning Trainer that writes checkpoints, ``metrics.csv`` and TensorBoard files into ``run_dir``.

    Args:
        config: its settings.
        run_dir: folder of the run.
        monitor: the figure that the best checkpoint and early stopping go by, and ``min`` or ``max``.
        tensorboard: whether to write its files.

    Raises:
        ConfigError: the machine has no such device, or Lightning refuses the combination.
    """
    config.node_rank  # noqa: B018  # what the environment lacks is told now
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    folder = run_dir / "checkpoints"
    figure, mode = monitor
    callbacks: list[Callback] = [
        OtherProcess(RunFolder(run_dir).log, config.num_threads),
        HistoryTable(RunFolder(run_dir).metrics),
        MovableCheckpoint(folder, "best", monitor=figure, mode=mode, enable_version_counter=False),
        # Of its own: `save_last` of the one above writes nothing in an epoch that is not the best.
        MovableCheckpoint(folder, "last", enable_version_counter=False),
    ]
    if config.average_last:
        callbacks.append(KeptWeights(RunFolder(run_dir), config.average_last))
    if config.ema_decay:
        callbacks.append(AveragedWeights(config.ema_decay))
    if config.early_stopping_patience:
        callbacks.append(EarlyStopping(figure, patience=config.early_stopping_patience, mode=mode))
    if config.precision == AUTO:
        config = dataclasses.replace(config, precision=native_precision(config.accelerator))
    interactive = sys.stderr.isatty()
    if interactive:
        callbacks.append(RichProgressBar())
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    build = partial(_trainer, config, run_dir, callbacks, tensorboard=tensorboard, interactive=interactive)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*AMP with fp16 is not supported on CPU.*")  # refused below
            trainer = build(config.strategy)
        if trainer.world_size > 1 and config.strategy in ("auto", "ddp"):
            # The usual launcher would repeat the command line in each process: preparing, printing, a run folder each.
            trainer = build("ddp_spawn")
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(f"trainer: {str(error).strip()}") from error
    launcher = trainer.strategy.launcher
    if launcher is not None and not isinstance(launcher, _MultiProcessingLauncher):
        raise ConfigError(
            f"trainer: expected a strategy that starts its processes itself, such as ddp, got {config.strategy!r}"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError(
            "expected to be started once on each machine, got torchrun; give trainer.devices=N instead, and "
            "trainer.num_nodes=M with MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment of each of M machines"
        )
    if config.precision == "16" and isinstance(trainer.accelerator, CPUAccelerator):
        raise ConfigError("trainer: expected a GPU for precision=16, got the processor; take bf16 or 32")
    return trainer


def _trainer(
    config: TrainerConfig,
    run_dir: Path,
    callbacks: list[Callback],
    strategy: str,
    *,
    tensorboard: bool,
    interactive: bool,
) -> Trainer:
    return Trainer(
        default_root_dir=run_dir,
        max_epochs=config.max_epochs,
        limit_train_batches=config.max_batches or None,
        gradient_clip_val=config.gradient_clip or None,
        accumulate_grad_batches=config.accumulate_batches,
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
        # Not whatever Lightning finds: draws and totals are of float64, which Apple's GPUs don't have.
        accelerator=_device() if config.accelerator == AUTO else config.accelerator,
        devices=int(config.devices) if config.devices.lstrip("-").isdigit() else config.devices,
        num_nodes=config.num_nodes,
        # Whatever started the command, the environment says which machine this is.
        plugins=[LightningEnvironment()] if config.num_nodes > 1 else None,
        strategy=strategy,
        deterministic=config.deterministic,
        profiler=_build_profiler(config.profiler, run_dir),
        fast_dev_run=config.fast_dev_run,
        callbacks=callbacks,
        logger=TensorBoardLogger(run_dir, name="", version="tensorboard") if tensorboard else False,
        enable_progress_bar=interactive,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        use_distributed_sampler=False,
    )


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def native_precision(accelerator: str) -> str:
    """``bf16`` where Lightning's accelerator computes in it faster than in float32, else ``32``."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    if accelerator in ("auto", "cpu"):
        found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch can't say
        return "bf16" if found.get("avx512_bf16") or found.get("amx_bf16") else "32"
    return "32"


def _build_profiler(name: str, run_dir: Path) -> Profiler | None:
    if name == "none":
        return None
    kind = AdvancedProfiler if name == "advanced" else SimpleProfiler
    return kind(dirpath=run_dir, filename="profile")


def fit(trainer: Trainer, module: ClassifierTraining, loaders: StoreLoaders, *, resume_from: Path | None) -> None:
    """Train, from a checkpoint when given.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM.
    """
    with warnings.catch_warnings():
        # Few-core machines load fastest without workers, and small corpora have few batches: both are meant.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*number of training batches.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # the frozen ones
        # Each direction runs on a copy of its own few weights: see `RecurrentLayer`.
        warnings.filterwarnings("ignore", message=".*not part of single contiguous chunk of memory.*")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, datamodule=loaders, ckpt_path=resume_from, weights_only=True)
        except SystemExit as error:
            # Lightning turns Ctrl-C into an exit of its own and leaves the signal ignored, and SIGTERM into a success.
            if isinstance(error, SIGTERMException) or isinstance(error.__context__, KeyboardInterrupt):
                signal.signal(signal.SIGINT, handler)
                raise KeyboardInterrupt from None
            raise
