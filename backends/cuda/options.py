"""Switches of the CUDA backend, read at each call: speed against digits, and whether a run repeats bit for bit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)  # without slots a misspelt switch would be accepted, and do nothing
class Options:
    """What the CUDA backend may do. The defaults are PyTorch's, but for ``deterministic``.

    Attributes:
        use_cudnn: convolve by cuDNN where it is installed, else by im2col and a matrix product
            (`torch.backends.cudnn.enabled`).
        deterministic: only cuDNN's algorithms whose result repeats bit for bit; on here, off in PyTorch
            (`torch.backends.cudnn.deterministic`).
        allow_tf32_convolution: float32 convolutions by cuDNN may round their factors to TF32's 10 bits of mantissa, which
            tensor cores multiply several times as fast (`torch.backends.cudnn.allow_tf32`, likewise on).
        allow_tf32_matmul: the same for matrix products (`torch.backends.cuda.matmul.allow_tf32`, likewise off).
        workspace_limit: bytes of scratch memory that one convolution may take, cuDNN's as well as that of im2col.
    """

    use_cudnn: bool = True
    deterministic: bool = True
    allow_tf32_convolution: bool = True
    allow_tf32_matmul: bool = False
    workspace_limit: int = 1 << 30


options = Options()
