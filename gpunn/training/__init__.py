"""The training loop and what it leaves behind: checkpoints, metrics, curves."""

from gpunn.training.callbacks import Callback
from gpunn.training.checkpoint import Checkpoint, load, load_into, load_weights, save, save_weights
from gpunn.training.curves import draw_curves
from gpunn.training.evaluation import evaluate
from gpunn.training.interruption import TrainingInterrupted
from gpunn.training.run_directory import RunDirectory
from gpunn.training.scaling import GradScaler
from gpunn.training.trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "GradScaler",
    "RunDirectory",
    "Trainer",
    "TrainingInterrupted",
    "draw_curves",
    "evaluate",
    "load",
    "load_into",
    "load_weights",
    "save",
    "save_weights",
]
