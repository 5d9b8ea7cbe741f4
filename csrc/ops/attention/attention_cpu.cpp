// Chooses the instruction set, checks row_start, cuts the work into items and hands them to
// threads.
//
// Which thread computes an item, and into how many items forward's rows are cut, changes no bit of
// the result: tiles start at multiples of ATTENTION_TILE. Backward's cut doesn't know the threads.
#include <algorithm>
#include <new>

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

// How forward is cut: items = (batch, kv head) pairs x parts of their query heads x parts of the
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

constexpr const char* NO_MEMORY = "out of memory for the workspace";

const char* run_forward(const AttentionProblem& problem, const AttentionKernels& kernels,
                        int threads, ParallelFor parallel_for) {
  const int64_t pairs = problem.batch * problem.kv_heads;
  const int64_t group = problem.heads / problem.kv_heads;
  Cut cut;
  if (threads > 1 && pairs < 4 * threads) {
    // Each part packs k and v again: only where there is too little work to share.
    const int64_t most_parts = std::max<int64_t>(1, Cut::tiles_of(problem) / 2);
    cut.head_parts = group;
    cut.row_parts = std::clamp<int64_t>(4 * threads / (pairs * group), 1, most_parts);
  }

  const int64_t items = pairs * cut.head_parts * cut.row_parts;
  const bool done = for_each_item(items, threads, parallel_for, [&](int64_t index) {
    kernels.forward(problem, cut.item(problem, index));
  });
  return done ? nullptr : NO_MEMORY;
}

// Backward is cut into (batch, kv head) pairs, and where these are few into parts of their keys:
// each packs its queries again, so parts are not small. Documents need no cut of their own: a query
// sees the parts from its row_start on, mostly one.
AttentionParts parts_of(const AttentionProblem& problem) {
  constexpr int64_t ITEMS = 16, LEAST_KEYS = 256;
  const int64_t pairs = problem.batch * problem.kv_heads;
  const int64_t wanted = std::clamp<int64_t>(ITEMS / pairs, 1, problem.time / LEAST_KEYS + 1);
  const int64_t keys = (problem.time + wanted - 1) / wanted;

  AttentionParts parts;
  parts.keys = (keys + ATTENTION_KEYS - 1) / ATTENTION_KEYS * ATTENTION_KEYS;
  parts.count = (problem.time + parts.keys - 1) / parts.keys;
  return parts;
}

const char* run_backward(const AttentionProblem& problem, const AttentionKernels& kernels,
                         int threads, ParallelFor parallel_for) {
  const int64_t pairs = problem.batch * problem.kv_heads;
  const int64_t group = problem.heads / problem.kv_heads;
  AttentionParts parts = parts_of(problem);
  if (parts.count > 1) {
    parts.shares.reset(new (std::nothrow) float[pairs * parts.offset(problem, parts.count)]);
    if (!parts.shares) return NO_MEMORY;
  }
  const auto item = [&](int64_t pair, int64_t part, int64_t first_head, int64_t last_head) {
    const int64_t kv_head = pair % problem.kv_heads, heads = kv_head * group;
    return AttentionItem{pair / problem.kv_heads, kv_head,
                         heads + first_head,      heads + last_head,
                         part * parts.keys,       std::min(problem.time, (part + 1) * parts.keys)};
  };

  // Early parts first: most queries see them.
  bool done = for_each_item(pairs * parts.count, threads, parallel_for, [&](int64_t index) {
    AttentionItem one = item(index % pairs, index / pairs, 0, group);
    if (parts.count > 1) one.grad_q = parts.share(problem, index % pairs, index / pairs);
    kernels.backward(problem, one);
  });
  if (done && parts.count > 1) {
    done = for_each_item(pairs * group * parts.count, threads, parallel_for, [&](int64_t index) {
      const int64_t head = index / pairs % group, part = index / pairs / group;
      kernels.sum_grad_q(problem, item(index % pairs, part, head, head + 1), parts);
    });
  }
  return done ? nullptr : NO_MEMORY;
}

const char* run(const AttentionProblem& problem, int level, int threads, ParallelFor parallel_for,
                bool forward) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;
  if (const char* message = check_row_start(problem)) return message;
  if (problem.batch == 0 || problem.time == 0) return nullptr;

  const AttentionKernels kernels = kernels_at(isa, problem.type);
  return (forward ? run_forward : run_backward)(problem, kernels, threads, parallel_for);
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
