// The root of the sum of squares of all numbers of a list of arrays, added up in double: nothing
// overflows or vanishes.
#pragma once

#include <cstdint>
#include <vector>

#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

struct TotalNormProblem {
  std::vector<const float*> arrays;
  std::vector<int64_t> sizes;
  float* norm = nullptr;
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* total_norm_cpu(const TotalNormProblem& problem, int level, int threads,
                           ParallelFor parallel_for);

// In total_norm_kernel.cpp: the sum of squares of one piece.
SNAKELM_DECLARE_KERNEL(double, total_norm, (const float* x, int64_t count))

}  // namespace snakelm
