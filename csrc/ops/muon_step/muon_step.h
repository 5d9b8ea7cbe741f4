// What Muon does around the orthogonalisation, each in one pass over matrices of one size:
//
//   momentum   m <- m + (1 - mu) (s g - m),   x = s g + mu (m - s g)      Nesterov's, in bfloat16
//   update     p <- (1 - decay) p - rate x,   copy = p in bfloat16
//
// s scales the gradients: clipping needs no pass of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "common/isa.h"
#include "common/parallel.h"

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

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* muon_momentum_cpu(const MuonMomentumProblem& problem, int level, int threads,
                              ParallelFor parallel_for);
const char* muon_update_cpu(const MuonUpdateProblem& problem, int level, int threads,
                            ParallelFor parallel_for);

// In muon_step_kernel.cpp: `count` numbers of a matrix, from the `first` one on.
SNAKELM_DECLARE_KERNEL(void, muon_momentum,
                       (const MuonMomentumProblem& problem, int64_t matrix, int64_t first,
                        int64_t count))
SNAKELM_DECLARE_KERNEL(void, muon_update,
                       (const MuonUpdateProblem& problem, int64_t matrix, int64_t first,
                        int64_t count))

}  // namespace snakelm
