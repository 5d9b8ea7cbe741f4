// AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) without weight decay, in one pass:
//
//   m <- m + (1 - beta1) (s g - m),   v <- beta2 v + (1 - beta2) (s g)^2
//   p <- p - rate m / (sqrt(v) / root + eps),   copy = p in bfloat16
//
// s scales the gradients: clipping needs no pass of its own. A rate has the first moment's bias
// correction in it, root is the second's.
#pragma once

#include <cstdint>
#include <vector>

#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

struct AdamwProblem {
  std::vector<int64_t> sizes;  // of each parameter, in whose order all lists are
  std::vector<float*> parameters, averages, squares;
  std::vector<const float*> gradients;
  std::vector<void*> copies;  // bfloat16, null for none
  std::vector<float> rates;
  float root = 1, eps = 0, scale = 1;
  float rest1 = 1, beta2 = 0, rest2 = 1;  // rest: 1 - beta, of which float has too few digits
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* adamw_step_cpu(const AdamwProblem& problem, int level, int threads,
                           ParallelFor parallel_for);

// In adamw_step_kernel.cpp: `count` numbers of a parameter, from the `first` one on.
SNAKELM_DECLARE_KERNEL(void, adamw_step,
                       (const AdamwProblem& problem, int64_t parameter, int64_t first,
                        int64_t count))

}  // namespace snakelm
