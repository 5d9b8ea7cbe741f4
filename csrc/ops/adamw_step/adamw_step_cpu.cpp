// Chooses the instruction set and hands pieces of parameters to threads.
#include "ops/adamw_step/adamw_step.h"

#include "common/chunks.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, adamw_step);

}  // namespace

const char* adamw_step_cpu(const AdamwProblem& problem, int level, int threads,
                           ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(KERNELS, static_cast<Isa>(isa));
  Chunks(problem.sizes).run(threads, parallel_for, [&](int64_t, const Chunk& chunk) {
    kernel(problem, chunk.array, chunk.first, chunk.count);
  });
  return nullptr;
}

}  // namespace snakelm
