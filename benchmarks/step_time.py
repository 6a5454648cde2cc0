"""The time of one training step: an MLP, LeNet-5 and VGG11-BN in gpunn, beside PyTorch where it is installed.

The contenders take turns in short blocks on the same batch; the median of all counted steps is printed, as a table in
Markdown. PyTorch runs in both memory formats, and the quicker one counts; ``--compile`` adds torch.compile.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --networks lenet5 --blocks 30
"""

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages for PyTorch; it asks when it is imported

import numpy as np

import gpunn
from gpunn.device import choose

LEARNING_RATE, MOMENTUM = 0.01, 0.9


# The networks are written once, for ``nn`` of either framework.


def mlp(nn: Any) -> Any:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(inplace=True), nn.Linear(512, 256), nn.ReLU(inplace=True), nn.Linear(256, 10)
    )  # fmt: skip


def lenet5(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(inplace=True), nn.Linear(120, 84), nn.ReLU(inplace=True), nn.Linear(84, 10),
    )  # fmt: skip


def vgg11_bn(nn: Any) -> Any:
    layers: list[Any] = []
    channels = 3
    for width, halve in ((64, 1), (128, 1), (256, 0), (256, 1), (512, 0), (512, 1), (512, 0), (512, 1)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] * halve
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


@dataclass
class Case:
    build: Callable[[Any], Any]
    image: tuple[int, int, int]
    batch: int


CASES = {
    "mlp": Case(mlp, (1, 28, 28), 128),
    "lenet5": Case(lenet5, (1, 28, 28), 128),
    "vgg11_bn": Case(vgg11_bn, (3, 32, 32), 64),
}


@dataclass
class Contender:
    """``step`` does one training step and returns when the device has done it."""

    name: str
    step: Callable[[], None]
    seconds: list[float] = field(default_factory=list)

    def median(self) -> float:
        return statistics.median(self.seconds)


def in_gpunn(case: Case, images: np.ndarray, labels: np.ndarray, device: str) -> Contender:
    net = case.build(gpunn.nn).to(device)
    optimizer = gpunn.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    x, y = gpunn.tensor(images, device=device), gpunn.tensor(labels, device=device)

    def step() -> None:
        optimizer.zero_grad()
        gpunn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        x.backend.synchronize()

    return Contender("gpunn", step)


def in_torch(case: Case, images: np.ndarray, labels: np.ndarray, device: str, compiled: bool) -> Iterator[Contender]:
    import torch

    for memory_format in (torch.contiguous_format, torch.channels_last):
        net = case.build(torch.nn).to(device, memory_format=memory_format)
        optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
        x = torch.tensor(images, device=device).contiguous(memory_format=memory_format)
        y = torch.tensor(labels, device=device)
        for run in (net, torch.compile(net)) if compiled else (net,):

            def step(run: Any = run, x: Any = x, y: Any = y, optimizer: Any = optimizer) -> None:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(run(x), y).backward()
                optimizer.step()
                if x.is_cuda:
                    torch.cuda.synchronize()

            how = "compiled" if run is not net else "eager"
            yield Contender(f"PyTorch, {how}, {str(memory_format).removeprefix('torch.')}", step)


def measure(contenders: list[Contender], blocks: int, steps: int) -> None:
    """``blocks`` turns each, of one step that is not counted and ``steps`` that are."""
    for contender in contenders:
        contender.step()  # buffers, compilation
    for _ in range(blocks):
        for contender in contenders:
            contender.step()
            for _ in range(steps):
                started = time.perf_counter()
                contender.step()
                contender.seconds.append(time.perf_counter() - started)


def row(name: str, batch: int, ours: Contender, theirs: list[Contender]) -> str:
    cells = [name, str(batch), f"{1000 * ours.median():.1f} ms"]
    if theirs:
        best = min(theirs, key=Contender.median)
        cells += [
            f"{1000 * best.median():.1f} ms",
            f"{ours.median() / best.median():.2f}",
            best.name.partition(", ")[2],
        ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a training step of gpunn beside PyTorch.")
    parser.add_argument("--networks", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--blocks", type=int, default=15, help="turns of each contender (default: 15)")
    parser.add_argument("--steps", type=int, default=4, help="counted steps a turn (default: 4)")
    parser.add_argument("--compile", action="store_true", help="let PyTorch compile as well (needs a C++ compiler)")
    parser.add_argument("--quick", action="store_true", help="one turn with batches of 4: only to see that all runs")
    options = parser.parse_args()
    if options.quick:
        options.blocks, options.steps = 1, 1
    device, _ = choose(options.device)
    gpunn.manual_seed(0)
    heads = ["network", "batch", "gpunn"]
    with_torch = importlib.util.find_spec("torch") is not None
    if with_torch:
        import torch

        heads += ["PyTorch", "gpunn / PyTorch", "PyTorch's quickest way"]
        print(
            f"device {device}, {torch.get_num_threads()} threads, gpunn {gpunn.__version__}, PyTorch {torch.__version__}\n"
        )
    else:
        print(f"device {device}, gpunn {gpunn.__version__}; PyTorch is not installed\n")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for name in options.networks:
        case = CASES[name]
        batch = 4 if options.quick else case.batch
        generator = np.random.default_rng(0)
        images = generator.standard_normal((batch, *case.image)).astype(np.float32)
        labels = generator.integers(0, 10, batch)
        ours = in_gpunn(case, images, labels, device)
        theirs = list(in_torch(case, images, labels, device, options.compile)) if with_torch else []
        measure([ours, *theirs], options.blocks, options.steps)
        print(row(name, batch, ours, theirs), flush=True)


if __name__ == "__main__":
    main()
