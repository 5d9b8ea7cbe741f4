// Chooses the instruction set and hands blocks of rows to threads.
#include "ops/swiglu/swiglu.h"

#include "common/row_blocks.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(FORWARD, swiglu_forward);
SNAKELM_KERNEL_TABLE(BACKWARD, swiglu_backward);

template <class Kernel>
const char* run(Kernel* const (&kernels)[ISA_COUNT], const SwigluProblem& problem, int level,
                int threads, ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(kernels, static_cast<Isa>(isa));
  RowBlocks(problem.rows)
      .run(problem.rows * problem.width, threads, parallel_for,
           [&](int64_t, int64_t first, int64_t last) { kernel(problem, first, last); });
  return nullptr;
}

}  // namespace

const char* swiglu_forward_cpu(const SwigluProblem& problem, int level, int threads,
                               ParallelFor parallel_for) {
  return run(FORWARD, problem, level, threads, parallel_for);
}

const char* swiglu_backward_cpu(const SwigluProblem& problem, int level, int threads,
                                ParallelFor parallel_for) {
  return run(BACKWARD, problem, level, threads, parallel_for);
}

}  // namespace snakelm
