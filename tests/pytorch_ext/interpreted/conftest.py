"""Tests of Triton kernels under its interpreter, which computes with numpy on the CPU.

    TRITON_INTERPRET=1 python -m pytest tests/pytorch_ext/interpreted

Without the variable nothing here is collected: it counts when the kernels are defined, so a process
has them either interpreted or to be compiled. tests/pytorch_ext/test_triton_interpreted.py starts
one that interprets.
"""

import os

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]
