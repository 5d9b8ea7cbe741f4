// Gradients of weights whose products read one x: pointers and sizes.
//
//   out_i [R_i, C] = sum over n of g_i[n, :]^T x[n, :]     g_i [N, R_i] and x [N, C] in bfloat16
//
// Both factors lie across what is summed, so both are packed for the tiles; x once for all of the
// weights. Sums are float32 and are the caller's at once: nothing is rounded to bfloat16 between.
#pragma once

#include <vector>

#include "common/element.h"
#include "common/isa.h"
#include "common/parallel.h"

namespace snakelm {

struct WeightGradient {
  Rows gradient;         // bfloat16 [N, rows], of the weight's output
  int64_t rows = 0;      // of the weight
  float* out = nullptr;  // [rows, C], dense
};

struct WeightGradientsProblem {
  int64_t count = 0, width = 0;  // N, C
  Rows x;                        // bfloat16 [N, C]
  std::vector<WeightGradient> weights;
};

// Rows [first_row, last_row) of one weight, by columns [first, last) of all.
struct WeightBlock {
  int64_t weight, first_row, last_row;
};
struct WeightGradientsItem {
  std::vector<WeightBlock> blocks;  // of at most BLOCK_ROWS rows
  int64_t first, last;              // at most BLOCK_COLUMNS
};
constexpr int64_t BLOCK_ROWS = 256, BLOCK_COLUMNS = 256;

// level: as isa_level takes it. Null on success, else a message. Results don't depend on `threads`.
const char* weight_gradients_cpu(const WeightGradientsProblem& problem, int level, int threads,
                                 ParallelFor parallel_for);

// In weight_gradients_kernel.cpp. Throws bad_alloc.
SNAKELM_DECLARE_KERNEL(void, weight_gradients,
                       (const WeightGradientsProblem& problem, const WeightGradientsItem& item))

}  // namespace snakelm
