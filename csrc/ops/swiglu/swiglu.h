// The gate of SwiGLU (Shazeer 2020, arXiv:2002.05202), forward and backward: pointers and sizes.
//
//   out = g s u,   s = sigmoid(g)          grad_u = grad g s      grad_g = grad u s (1 + g (1 - s))
//
// One pass each way: forward reads gate and up and writes out; backward reads them and grad_out and
// writes both gradients, the sigmoid computed again.
#pragma once

#include "common/element.h"
#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

struct SwigluProblem {
  Element type = Element::float32;
  int64_t rows = 0, width = 0;
  Rows gate, up;        // [rows, width]
  void* out = nullptr;  // dense, as are the gradients
  Rows grad_out;        // backward only, as are the rest
  void* grad_gate = nullptr;
  void* grad_up = nullptr;
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* swiglu_forward_cpu(const SwigluProblem& problem, int level, int threads,
                               ParallelFor parallel_for);
const char* swiglu_backward_cpu(const SwigluProblem& problem, int level, int threads,
                                ParallelFor parallel_for);

// In swiglu_kernel.cpp: rows [first, last).
SNAKELM_DECLARE_KERNEL(void, swiglu_forward,
                       (const SwigluProblem& problem, int64_t first, int64_t last))
SNAKELM_DECLARE_KERNEL(void, swiglu_backward,
                       (const SwigluProblem& problem, int64_t first, int64_t last))

}  // namespace snakelm
