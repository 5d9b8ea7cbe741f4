// RMS-norm and rotary embedding of each query and key head (Qwen3; Su et al. 2021,
// arXiv:2104.09864) in one pass over the projected heads, forward and backward: pointers and sizes.
//
//   n = x r w        r = 1 / sqrt(mean(x^2) + eps), over the D numbers of a head
//
// and n is turned as common/heads.h has it.
//
// Backward turns the gradient the other way and goes on as a norm's, r computed again; nothing is
// kept between the two but x. One rounding, where norm and rotation after each other have two.
#pragma once

#include "common/element.h"
#include "common/heads.h"
#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

// The queries, or the keys.
struct ProjectedHeads {
  int64_t heads = 0;
  HeadsView x;
  const float* weight = nullptr;  // [D]
  void* out = nullptr;            // [B, T, heads, D] dense, as is grad_x
  HeadsView grad_out;             // backward only, as are the rest
  void* grad_x = nullptr;
  float* grad_weight = nullptr;  // [D]
};

struct QkNormRopeProblem {
  Element type = Element::float32;
  int64_t batch = 0, time = 0, dim = 0;  // dim is even
  float eps = 0;
  Angles angles;
  ProjectedHeads parts[2];
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* qk_norm_rope_forward_cpu(const QkNormRopeProblem& problem, int level, int threads,
                                     ParallelFor parallel_for);
const char* qk_norm_rope_backward_cpu(const QkNormRopeProblem& problem, int level, int threads,
                                      ParallelFor parallel_for);

// In qk_norm_rope_kernel.cpp: positions [first, last) of the B T. Backward adds to grad_weights
// [2, D].
SNAKELM_DECLARE_KERNEL(void, qk_norm_rope_forward,
                       (const QkNormRopeProblem& problem, int64_t first, int64_t last))
SNAKELM_DECLARE_KERNEL(void, qk_norm_rope_backward,
                       (const QkNormRopeProblem& problem, int64_t first, int64_t last,
                        float* grad_weights))

}  // namespace snakelm
