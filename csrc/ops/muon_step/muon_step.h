// A step of Muon for matrices of one shape. Each is one thread's from its gradient to its copy, so
// that what lies between stays in that core's cache and threads meet once:
//
//   momentum   m <- m + (1 - mu) (s g - m),   x = s g + mu (m - s g)      Nesterov's, in bfloat16
//   then x is orthogonalised (ops/orthogonalize)
//   update     p <- (1 - decay) p - rate x,   copy = p in bfloat16
//
// s scales the gradients: clipping needs no pass of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "common/isa.h"
#include "common/parallel.h"
#include "ops/orthogonalize/orthogonalize.h"

namespace snakelm {

struct MuonMomentumProblem {
  int64_t size = 0;  // numbers of a matrix
  std::vector<const float*> gradients;
  float* buffer = nullptr;                  // [matrices, size], as is x
  void* x = nullptr;                        // bfloat16
  float momentum = 0, rest = 1, scale = 1;  // rest: 1 - momentum, of which float has too few digits
};

struct MuonUpdateProblem {
  int64_t size = 0;
  std::vector<float*> parameters;
  std::vector<void*> copies;  // bfloat16, null for none
  const void* x = nullptr;    // bfloat16 [matrices, size]
  float rate = 0, keep = 1;   // keep: 1 - decay
};

// orthogonalize: from momentum.x to update.x, of as many matrices.
struct MuonStepProblem {
  MuonMomentumProblem momentum;
  OrthogonalizeProblem orthogonalize;
  MuonUpdateProblem update;
};

// level and that of the orthogonalisation: as isa_level takes it. Null on success, else a message.
// Results don't depend on `threads`.
const char* muon_step_cpu(const MuonStepProblem& problem, int level, int orthogonalize_level,
                          int threads, ParallelFor parallel_for);

// In muon_step_kernel.cpp: one matrix.
SNAKELM_DECLARE_KERNEL(void, muon_momentum, (const MuonMomentumProblem& problem, int64_t matrix))
SNAKELM_DECLARE_KERNEL(void, muon_update, (const MuonUpdateProblem& problem, int64_t matrix))

}  // namespace snakelm
