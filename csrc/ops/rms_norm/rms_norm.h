// Root-mean-square norm (Zhang & Sennrich 2019, arXiv:1910.07467), the residual added in the same
// pass; forward and backward: pointers and sizes.
//
//   s = x + residual            rounded to the type, as the sum that is handed on; x without one
//   out = s r w                 r = 1 / sqrt(mean(s^2) + eps)
//   grad_s = r (grad w - s r^2 mean(grad w s)) + grad_sum         grad_w = sum over rows of grad s
//   r
//
// Backward reads s and computes r again: a multiply-add a number, where r kept would be one more
// array to make, hold and read. The gradient of s is that of x and of the residual.
#pragma once

#include "common/element.h"
#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

struct RmsNormProblem {
  Element type = Element::float32;
  int64_t rows = 0, width = 0;
  float eps = 0;
  const float* weight = nullptr;  // [width], or null: ones
  Rows x;                         // [rows, width]; backward reads s here
  Rows residual;                  // no data: none
  void* sum = nullptr;            // s, with a residual; dense, as are the other results
  void* out = nullptr;
  Rows grad_out;                 // backward only, as are the rest
  Rows grad_sum;                 // no data: zeros
  void* grad_x = nullptr;        // of s
  float* grad_weight = nullptr;  // [width], with a weight
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* rms_norm_forward_cpu(const RmsNormProblem& problem, int level, int threads,
                                 ParallelFor parallel_for);
const char* rms_norm_backward_cpu(const RmsNormProblem& problem, int level, int threads,
                                  ParallelFor parallel_for);

// In rms_norm_kernel.cpp: rows [first, last). Backward adds to grad_weight [width], null without a
// weight.
SNAKELM_DECLARE_KERNEL(void, rms_norm_forward,
                       (const RmsNormProblem& problem, int64_t first, int64_t last))
SNAKELM_DECLARE_KERNEL(void, rms_norm_backward,
                       (const RmsNormProblem& problem, int64_t first, int64_t last,
                        float* grad_weight))

}  // namespace snakelm
