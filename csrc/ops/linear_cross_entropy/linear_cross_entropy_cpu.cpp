// Chooses the instruction set, cuts rows and vocabulary into blocks and hands them to threads.
//
// A block's size changes no bit of its results, so it may depend on the number of threads.
#include "ops/linear_cross_entropy/linear_cross_entropy.h"

#include <algorithm>

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, linear_cross_entropy_passes);

// Of rows that one block holds fixed: a multiple of every panel, and with their sums in a cache of
// one or two megabytes.
constexpr int64_t PANEL = 64, MOST = 512, MOST_NUMBERS = 1 << 17;
constexpr int64_t WORTH_A_THREAD = 1 << 20;  // multiplications

LinearCrossEntropyPasses passes_at(int isa, const LinearCrossEntropyProblem& problem) {
  for (; isa > 0; --isa) {
    if (!KERNELS[isa]) continue;
    const auto passes = KERNELS[isa](problem.type, problem.weight_type);
    if (passes.rows) return passes;
  }
  return portable::linear_cross_entropy_passes(problem.type, problem.weight_type);
}

int64_t block_size(int64_t count, int64_t width, int threads) {
  const int64_t fits = MOST_NUMBERS / std::max<int64_t>(width, 1) / PANEL * PANEL;
  const int64_t shared = count / (2 * threads) / PANEL * PANEL;  // two blocks a thread, or more
  return std::max(PANEL, std::min({fits, shared, MOST}));
}

const char* run(LinearCrossEntropyPass LinearCrossEntropyPasses::* pass,
                const LinearCrossEntropyProblem& problem, int64_t count, int level, int threads,
                ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const int64_t work = problem.rows * problem.vocabulary / WORTH_A_THREAD * problem.width;
  threads = static_cast<int>(std::clamp<int64_t>(work, 1, std::max(threads, 1)));
  const int64_t each = block_size(count, problem.width, threads);
  const auto kernel = passes_at(isa, problem).*pass;
  const bool done = for_each_item(
      (count + each - 1) / each, threads, parallel_for,
      [&](int64_t block) { kernel(problem, block * each, std::min(count, (block + 1) * each)); });
  return done ? nullptr : "out of memory for the workspace";
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

}  // namespace snakelm
