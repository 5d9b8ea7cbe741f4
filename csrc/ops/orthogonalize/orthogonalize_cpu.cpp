// Chooses the instruction set and hands matrices to threads.
#include "ops/orthogonalize/orthogonalize.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, orthogonalize);

}  // namespace

const char* orthogonalize_cpu(const OrthogonalizeProblem& problem, int level, int threads,
                              ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;
  if (!problem.rows || !problem.columns) return nullptr;

  const auto kernel = linked_at_most(KERNELS, static_cast<Isa>(isa));
  const bool done = for_each_item(problem.matrices, threads, parallel_for,
                                  [&](int64_t matrix) { kernel(problem, matrix); });
  return done ? nullptr : "out of memory for the tiles of a matrix";
}

}  // namespace snakelm
