// Newton-Schulz iterations (pytorch_ext/ops/orthogonalize has the mathematics): pointers and sizes.
//
//   x <- (a I + b R + c R^2) x,   R = x x^T
//
// R and the polynomial are symmetric: half of them is computed. Where the CPU multiplies bfloat16,
// products are of bfloat16, summed in float32 (orthogonalize_blocks.h); elsewhere all is float32,
// by way of R alone (orthogonalize_floats.h). Everything of one matrix is in the memory of the
// thread that has it: 8 K N + 6 K^2 bytes for a K x N matrix, K <= N, both rounded up to 32, and 8
// K N + 16 K^2 bytes in float32.
#pragma once

#include <cstdint>

#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

struct Quintic {
  float a, b, c;
};

struct OrthogonalizeProblem {
  int64_t matrices = 0, rows = 0, columns = 0;
  const void* x = nullptr;  // bfloat16 [matrices, rows, columns], dense, as is out
  void* out = nullptr;
  const Quintic* steps = nullptr;  // [step_count]; the first one for eigenvalues of R in [0, 1]
  int64_t step_count = 0;
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* orthogonalize_cpu(const OrthogonalizeProblem& problem, int level, int threads,
                              ParallelFor parallel_for);

// In orthogonalize_kernel.cpp: one matrix. Throws bad_alloc.
SNAKELM_DECLARE_KERNEL(void, orthogonalize, (const OrthogonalizeProblem& problem, int64_t matrix))

}  // namespace snakelm
