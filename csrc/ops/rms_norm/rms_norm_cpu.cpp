// Chooses the instruction set and hands blocks of rows to threads; the weight's gradient is added
// up over the blocks in their order.
#include "common/row_blocks.h"
#include "ops/rms_norm/rms_norm.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(FORWARD, rms_norm_forward);
SNAKELM_KERNEL_TABLE(BACKWARD, rms_norm_backward);

}  // namespace

const char* rms_norm_forward_cpu(const RmsNormProblem& problem, int level, int threads,
                                 ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(FORWARD, static_cast<Isa>(isa));
  RowBlocks(problem.rows)
      .run(problem.rows * problem.width, threads, parallel_for,
           [&](int64_t, int64_t first, int64_t last) { kernel(problem, first, last); });
  return nullptr;
}

const char* rms_norm_backward_cpu(const RmsNormProblem& problem, int level, int threads,
                                  ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const RowBlocks blocks(problem.rows);
  BlockSums sums(blocks, problem.weight ? problem.width : 0);
  if (!sums.allocated()) return "out of memory for the weight's gradient";

  const auto kernel = linked_at_most(BACKWARD, static_cast<Isa>(isa));
  blocks.run(problem.rows * problem.width, threads, parallel_for,
             [&](int64_t block, int64_t first, int64_t last) {
               kernel(problem, first, last, problem.weight ? sums.start(block) : nullptr);
             });
  if (problem.weight) sums.total(0, problem.width, problem.grad_weight);
  return nullptr;
}

}  // namespace snakelm
