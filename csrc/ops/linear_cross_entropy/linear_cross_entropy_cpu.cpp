// Chooses the instruction set, cuts rows and vocabulary into blocks and hands them to threads.
//
// A block's size changes no bit of its results, so it may depend on the number of threads.
#include "ops/linear_cross_entropy/linear_cross_entropy.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, linear_cross_entropy_passes);

// Of rows that one block holds fixed: a multiple of every panel, and with their sums in a cache of
// one or two megabytes.
constexpr int64_t PANEL = 64, MOST = 256, MOST_NUMBERS = 1 << 17;
// Exponentials that are kept: of so many rows, in lines so many floats longer, as lines a power of
// two apart would fight for the same places in the cache.
constexpr int64_t KEPT_MOST = 256, KEPT_APART = 16;
// Weight rows of an item of the kept pass: at most, and what they are a multiple of, as the kernel
// takes them at a time.
constexpr int64_t ITEM_MOST = 8 * KEPT_BLOCK, ITEM_STEP = 48;
constexpr int64_t WORTH_A_THREAD = 1 << 20;  // multiplications

// What rows are cut at in the rows pass: the panels of the kernel (common/multiply.h).
int64_t panel_of(int isa) { return isa >= static_cast<int>(Isa::avx512) ? PANEL : 16; }

LinearCrossEntropyPasses passes_at(int isa, const LinearCrossEntropyProblem& problem) {
  for (; isa > 0; --isa) {
    if (!KERNELS[isa]) continue;
    const auto passes = KERNELS[isa](problem.type, problem.weight_type);
    if (passes.rows) return passes;
  }
  return portable::linear_cross_entropy_passes(problem.type, problem.weight_type);
}

int64_t block_size(int64_t count, int64_t width, int threads, int64_t most) {
  const int64_t fits = MOST_NUMBERS / std::max<int64_t>(width, 1) / PANEL * PANEL;
  const int64_t shared = count / (2 * threads) / PANEL * PANEL;  // two blocks a thread, or more
  return std::max(PANEL, std::min({fits, shared, most}));
}

constexpr const char* NO_MEMORY = "out of memory for the workspace";

int threads_worth(const LinearCrossEntropyProblem& problem, int threads) {
  const int64_t work = problem.rows * problem.vocabulary / WORTH_A_THREAD * problem.width;
  return static_cast<int>(std::clamp<int64_t>(work, 1, std::max(threads, 1)));
}

// A pass over [first, last) in blocks.
bool run_blocks(LinearCrossEntropyPass pass, const LinearCrossEntropyProblem& problem,
                int64_t first, int64_t last, int64_t each, int threads, ParallelFor parallel_for) {
  return for_each_item((last - first + each - 1) / each, threads, parallel_for, [&](int64_t block) {
    pass(problem, first + block * each, std::min(last, first + (block + 1) * each));
  });
}

const char* run(LinearCrossEntropyPass LinearCrossEntropyPasses::* pass,
                const LinearCrossEntropyProblem& problem, int64_t count, int level, int threads,
                ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  threads = threads_worth(problem, threads);
  // Where there are tiles, the second-level cache has two megabytes.
  const bool tiles = isa == static_cast<int>(Isa::amx) && problem.type == Element::bfloat16;
  const int64_t most = tiles ? 2 * MOST : MOST;
  const bool done =
      run_blocks(passes_at(isa, problem).*pass, problem, 0, count,
                 block_size(count, problem.width, threads, most), threads, parallel_for);
  return done ? nullptr : NO_MEMORY;
}

// Weight rows of an item of the kept pass: two items a thread, or more, as many for each.
int64_t kept_item(int64_t vocabulary, int threads) {
  const int64_t rounds = std::max<int64_t>(2, (vocabulary - 1) / (ITEM_MOST * threads) + 1);
  const int64_t items = threads == 1 ? (vocabulary - 1) / ITEM_MOST + 1 : rounds * threads;
  return ((vocabulary - 1) / items / ITEM_STEP + 1) * ITEM_STEP;
}

// Rows whose exponentials are kept at a time: with what separates them, at most an eighth of the
// logits from 640 rows on. Independent of the threads, since sums are cut so.
int64_t kept_rows(int64_t rows) {
  return std::clamp((rows / 8 - KEPT_APART) / PANEL * PANEL, PANEL, KEPT_MOST);
}

}  // namespace

const char* linear_cross_entropy_rows_cpu(const LinearCrossEntropyProblem& problem, int level,
                                          int threads, ParallelFor parallel_for) {
  return run(&LinearCrossEntropyPasses::rows, problem, problem.rows, level, threads, parallel_for);
}

const char* linear_cross_entropy_vocabulary_cpu(const LinearCrossEntropyProblem& problem, int level,
                                                int threads, ParallelFor parallel_for) {
  return run(&LinearCrossEntropyPasses::vocabulary, problem, problem.vocabulary, level, threads,
             parallel_for);
}

const char* linear_cross_entropy_both_cpu(const LinearCrossEntropyProblem& given, int level,
                                          int threads, ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  threads = threads_worth(given, threads);
  const int64_t step = kept_rows(given.rows), blocks = (given.vocabulary - 1) / KEPT_BLOCK + 1;
  KeptExponentials keep;
  keep.row = step + KEPT_APART;
  const size_t numbers = static_cast<size_t>(blocks * (KEPT_BLOCK + 1) * keep.row);
  const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(64, numbers * 4),
                                                      std::free);
  if (!memory) return NO_MEMORY;
  keep.terms = static_cast<float*>(memory.get());
  keep.maximum = keep.terms + blocks * KEPT_BLOCK * keep.row;

  LinearCrossEntropyProblem problem = given;
  problem.kept_exponentials = &keep;
  const LinearCrossEntropyPasses passes = passes_at(isa, problem);
  const int64_t item = kept_item(problem.vocabulary, threads), panel = panel_of(isa);
  for (keep.first = 0; keep.first < problem.rows; keep.first = keep.last) {
    keep.last = std::min(problem.rows, keep.first + step);
    const int64_t share = (keep.last - keep.first + threads - 1) / threads;
    const int64_t size = (share + panel - 1) / panel * panel;
    if (!run_blocks(passes.rows, problem, keep.first, keep.last, size, threads, parallel_for) ||
        !run_blocks(passes.kept, problem, 0, problem.vocabulary, item, threads, parallel_for))
      return NO_MEMORY;
  }
  return nullptr;
}

}  // namespace snakelm
