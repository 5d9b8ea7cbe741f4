// Chooses the instruction set, checks row_start, cuts the work into items and hands them to threads.
//
// Items are taken from a counter, so that a thread with short documents takes more. Which thread computes an item, and
// into how many items the rows are cut, changes no bit of the result: tiles start at multiples of ATTENTION_TILE.
#include "ops/attention/attention.h"

#include <algorithm>
#include <atomic>
#include <exception>

namespace snakelm {
namespace {

bool runs_here(AttentionLevel level) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  switch (level) {
    case AttentionLevel::avx2: return avx2;
    case AttentionLevel::avx512: return avx512;
    case AttentionLevel::avx512bf16: return avx512 && __builtin_cpu_supports("avx512bf16");
    default: break;
  }
#endif
  return level == AttentionLevel::portable;
}

AttentionKernels kernels_at(int level, AttentionType type) {
#if defined(__x86_64__)
  const auto chosen = static_cast<AttentionLevel>(level);
  if (chosen == AttentionLevel::avx512bf16 && type == AttentionType::bfloat16) {
    return avx512bf16::attention_kernels(type);
  }
  if (chosen >= AttentionLevel::avx512) return avx512::attention_kernels(type);
  if (chosen == AttentionLevel::avx2) return avx2::attention_kernels(type);
#endif
  (void)level;
  return portable::attention_kernels(type);
}

// One pass over [B, T] int32, against T^2 work: cheap enough to do always.
const char* check_row_start(const AttentionProblem& problem) {
  if (!problem.row_start) return nullptr;
  for (int64_t b = 0; b < problem.batch; ++b) {
    const int32_t* const row = problem.row_start + b * problem.time;
    int decreases = 0;
    for (int64_t t = 1; t < problem.time; ++t) decreases |= row[t] < row[t - 1];
    if (decreases) return "row_start decreases along T; expected a non-decreasing first visible position per query";
  }
  return nullptr;
}

struct Call {
  const AttentionProblem& problem;
  void (*kernel)(const AttentionProblem&, const AttentionItem&);
  int64_t head_parts, row_parts, items;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};

  AttentionItem item(int64_t index) const {
    const int64_t group = problem.heads / problem.kv_heads, heads = group / head_parts;
    const int64_t tiles = (problem.time + ATTENTION_TILE - 1) / ATTENTION_TILE;
    const int64_t row_part = index % row_parts, head_part = index / row_parts % head_parts;
    const int64_t pair = index / row_parts / head_parts, kv_head = pair % problem.kv_heads;
    const int64_t first_head = kv_head * group + head_part * heads;
    return {pair / problem.kv_heads, kv_head, first_head, first_head + heads,
            tiles * row_part / row_parts * ATTENTION_TILE,
            std::min(problem.time, tiles * (row_part + 1) / row_parts * ATTENTION_TILE)};
  }

  static void work(int64_t, void* context) {
    Call& call = *static_cast<Call*>(context);
    try {
      for (int64_t i; (i = call.next.fetch_add(1)) < call.items;) call.kernel(call.problem, call.item(i));
    } catch (const std::exception&) {  // only bad_alloc can happen, and no exception may cross the thread pool
      call.failed = true;
    }
  }
};

const char* run(const AttentionProblem& problem, int level, int threads, AttentionParallel parallel, bool forward) {
  const int found = attention_level(level);
  if (found < 0) return "this CPU or build lacks the instruction set asked for";
  if (const char* message = check_row_start(problem)) return message;
  if (problem.batch == 0 || problem.time == 0) return nullptr;
  const AttentionKernels kernels = kernels_at(found, problem.type);
  const int64_t pairs = problem.batch * problem.kv_heads, group = problem.heads / problem.kv_heads;
  Call call{problem, forward ? kernels.forward : kernels.backward, 1, 1, pairs};
  if (forward && threads > 1 && pairs < 4 * threads) {
    call.head_parts = group;  // each part packs k and v again: only where there is too little work to share
    const int64_t tiles = (problem.time + ATTENTION_TILE - 1) / ATTENTION_TILE;
    call.row_parts = std::clamp<int64_t>(4 * threads / (pairs * group), 1, std::max<int64_t>(1, tiles / 4));
    call.items = pairs * call.head_parts * call.row_parts;
  }
  parallel(std::min<int64_t>(threads, call.items), Call::work, &call);
  return call.failed ? "out of memory for the workspace" : nullptr;
}

}  // namespace

int attention_level(int wanted) {
  if (wanted >= 0) return wanted <= 3 && runs_here(static_cast<AttentionLevel>(wanted)) ? wanted : -2;
  for (int level = 3; level > 0; --level) {
    if (runs_here(static_cast<AttentionLevel>(level))) return level;
  }
  return 0;
}

const char* attention_forward_cpu(const AttentionProblem& problem, int level, int threads, AttentionParallel parallel) {
  return run(problem, level, threads, parallel, true);
}

const char* attention_backward_cpu(const AttentionProblem& problem, int level, int threads,
                                   AttentionParallel parallel) {
  return run(problem, level, threads, parallel, false);
}

}  // namespace snakelm
