// Chooses the instruction set, checks row_start, cuts the work into items and hands them to
// threads.
//
// Which thread computes an item, and into how many items the rows are cut, changes no bit of the
// result: tiles start at multiples of ATTENTION_TILE.
#include <algorithm>

#include "ops/attention/attention.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, attention_kernels);

// The best kernels for this type that are linked and need no more than `isa`.
AttentionKernels kernels_at(int isa, AttentionType type) {
  for (; isa > 0; --isa) {
    if (!KERNELS[isa]) continue;
    const AttentionKernels kernels = KERNELS[isa](type);
    if (kernels.forward) return kernels;
  }
  return portable::attention_kernels(type);
}

// One pass over [B, T] int32, against T^2 work: cheap enough to do always.
const char* check_row_start(const AttentionProblem& problem) {
  if (!problem.row_start) return nullptr;
  for (int64_t b = 0; b < problem.batch; ++b) {
    const int32_t* const row = problem.row_start + b * problem.time;
    int decreases = 0;
    for (int64_t t = 1; t < problem.time; ++t) decreases |= row[t] < row[t - 1];
    if (decreases) {
      return "row_start decreases along T; expected a non-decreasing first visible position per "
             "query";
    }
  }
  return nullptr;
}

// How a problem is cut: items = (batch, kv head) pairs x parts of their query heads x parts of the
// rows, rows innermost.
struct Cut {
  int64_t head_parts = 1, row_parts = 1;

  AttentionItem item(const AttentionProblem& problem, int64_t index) const {
    const int64_t row_part = index % row_parts, head_part = index / row_parts % head_parts;
    const int64_t pair = index / row_parts / head_parts;
    const int64_t batch = pair / problem.kv_heads, kv_head = pair % problem.kv_heads;

    const int64_t group = problem.heads / problem.kv_heads, heads = group / head_parts;
    const int64_t first_head = kv_head * group + head_part * heads;

    const int64_t tiles = tiles_of(problem);
    const int64_t first_row = tiles * row_part / row_parts * ATTENTION_TILE;
    const int64_t last_row = tiles * (row_part + 1) / row_parts * ATTENTION_TILE;
    return {batch,      kv_head,
            first_head, first_head + heads,
            first_row,  std::min(problem.time, last_row)};
  }

  static int64_t tiles_of(const AttentionProblem& problem) {
    return (problem.time + ATTENTION_TILE - 1) / ATTENTION_TILE;
  }
};

const char* run(const AttentionProblem& problem, int level, int threads, ParallelFor parallel_for,
                bool forward) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;
  if (const char* message = check_row_start(problem)) return message;
  if (problem.batch == 0 || problem.time == 0) return nullptr;

  const AttentionKernels kernels = kernels_at(isa, problem.type);
  const auto kernel = forward ? kernels.forward : kernels.backward;
  const int64_t pairs = problem.batch * problem.kv_heads;
  const int64_t group = problem.heads / problem.kv_heads;

  Cut cut;
  if (forward && threads > 1 && pairs < 4 * threads) {
    // Each part packs k and v again: only where there is too little work to share.
    const int64_t most_parts = std::max<int64_t>(1, Cut::tiles_of(problem) / 4);
    cut.head_parts = group;
    cut.row_parts = std::clamp<int64_t>(4 * threads / (pairs * group), 1, most_parts);
  }

  const int64_t items = pairs * cut.head_parts * cut.row_parts;
  const bool done = for_each_item(items, threads, parallel_for, [&](int64_t index) {
    kernel(problem, cut.item(problem, index));
  });
  return done ? nullptr : "out of memory for the workspace";
}

}  // namespace

const char* attention_forward_cpu(const AttentionProblem& problem, int level, int threads,
                                  ParallelFor parallel_for) {
  return run(problem, level, threads, parallel_for, true);
}

const char* attention_backward_cpu(const AttentionProblem& problem, int level, int threads,
                                   ParallelFor parallel_for) {
  return run(problem, level, threads, parallel_for, false);
}

}  // namespace snakelm
