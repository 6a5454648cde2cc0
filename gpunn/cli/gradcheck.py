"""`gpunn gradcheck`: the gradients of every operation of a model, or of all models, against finite differences."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

import backends
from gpunn.checks.gradcheck_model import Gradient, gradcheck_model
from gpunn.cli.parity import add_batch, model_and_batch, one_of
from gpunn.cli.parser import Parser
from gpunn.models import names

EXAMPLES = """
gpunn gradcheck lenet5
gpunn gradcheck all --batch-size 2
"""
ALL = "all"
# Of the rest of the zoo these have the operations, in smaller layers.
ZOO = ("mlp", "lenet5", "small_cnn", "alexnet_cifar", "vgg11_bn", "autoencoder")


def parser() -> Parser:
    result = Parser(
        "gradcheck",
        "Compare the gradients of every operation of a model, on the shapes that it has there, with finite\n"
        "differences in float64. Exit code 1 where one is wrong.",
        EXAMPLES,
    )
    result.add_argument("model", metavar="MODEL", help=f"{ALL}, or one of {', '.join(names())}")
    add_batch(result)
    result.add_argument("--device", default="cpu", help="whose operations to check (default: cpu)")
    return result


def main(argv: Sequence[str]) -> int:
    given = parser().parse(argv)
    one_of("MODEL", given.model, [ALL, *names()])
    backends.get(given.device)
    wrong = []
    for name in ZOO if given.model == ALL else (given.model,):
        print(name)
        net, batch, seed = model_and_batch(Namespace(**{**vars(given), "model": name}))
        for gradient in gradcheck_model(net, batch, device=given.device, seed=seed):
            print(f"  {_label(gradient):<34}  {_shapes(gradient):<40}  {gradient.error or 'ok'}", flush=True)
            if gradient.error is not None:
                wrong.append(f"{name} {_label(gradient)}")
    print(f"gradcheck: wrong in {', '.join(wrong)}" if wrong else "gradcheck: all gradients are right")
    return 1 if wrong else 0


def _label(gradient: Gradient) -> str:
    return f"{gradient.path} {gradient.name}".strip()


def _shapes(gradient: Gradient) -> str:
    return ", ".join("x".join(map(str, shape)) or "()" for shape in gradient.shapes)
