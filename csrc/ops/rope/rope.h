// Rotary position embedding of heads, one read and one write: pointers and sizes; common/heads.h
// has the equation.
//
// A rotation's gradient is the rotation by the opposite angle, so backward is the same pass with
// `back` set, and nothing is kept between the two.
#pragma once

#include "common/element.h"
#include "common/heads.h"
#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

struct RopeProblem {
  Element type = Element::float32;
  int64_t batch = 0, time = 0, heads = 0, dim = 0;  // dim is even
  Angles angles;
  bool back = false;  // by the opposite angles
  HeadsView x;
  void* out = nullptr;  // [B, T, H, D] dense
};

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* rope_cpu(const RopeProblem& problem, int level, int threads, ParallelFor parallel_for);

// In rope_kernel.cpp: positions [first, last) of the B T.
SNAKELM_DECLARE_KERNEL(void, rope, (const RopeProblem& problem, int64_t first, int64_t last))

}  // namespace snakelm
