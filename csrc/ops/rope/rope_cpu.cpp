// Chooses the instruction set and hands blocks of positions to threads.
#include "common/row_blocks.h"
#include "ops/rope/rope.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, rope);

}  // namespace

const char* rope_cpu(const RopeProblem& problem, int level, int threads, ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(KERNELS, static_cast<Isa>(isa));
  const int64_t positions = problem.batch * problem.time;
  RowBlocks(positions).run(
      positions * problem.heads * problem.dim, threads, parallel_for,
      [&](int64_t, int64_t first, int64_t last) { kernel(problem, first, last); });
  return nullptr;
}

}  // namespace snakelm
