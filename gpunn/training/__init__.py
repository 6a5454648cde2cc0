"""The training loop and what it leaves behind: checkpoints, metrics, curves."""

from gpunn.training.callbacks import Callback
from gpunn.training.checkpoint import Checkpoint, load, load_into, load_weights, save, save_weights
from gpunn.training.curves import draw_curves
from gpunn.training.early_stopping import EarlyStopping
from gpunn.training.ensemble import Ensemble, Snapshots, bagging, bootstrap, expected_squared_error
from gpunn.training.evaluation import evaluate
from gpunn.training.interruption import TrainingInterrupted
from gpunn.training.run_directory import RunDirectory
from gpunn.training.scaling import GradScaler
from gpunn.training.trainer import Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Ensemble",
    "GradScaler",
    "RunDirectory",
    "Snapshots",
    "Trainer",
    "TrainingInterrupted",
    "bagging",
    "bootstrap",
    "draw_curves",
    "evaluate",
    "expected_squared_error",
    "load",
    "load_into",
    "load_weights",
    "save",
    "save_weights",
]
