"""Operators for training language models on tensors: each has a plain torch reference, and kernels
where they pay.

Knows tensors, never models. An operator is a folder below `ops`: `__init__.py` holds the public
function, its checks, dispatch, autograd and fake; `reference.py` is the specification the kernels
are tested against.
"""

from pytorch_ext.ops.attention import attention
from pytorch_ext.ops.linear_cross_entropy import linear_cross_entropy
from pytorch_ext.ops.rms_norm import rms_norm
from pytorch_ext.ops.rope import rope
from pytorch_ext.ops.swiglu import swiglu

__all__ = ["attention", "linear_cross_entropy", "rms_norm", "rope", "swiglu"]
