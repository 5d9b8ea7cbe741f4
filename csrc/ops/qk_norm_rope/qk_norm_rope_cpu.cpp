// Chooses the instruction set and hands blocks of positions to threads; the weights' gradients are
// added up over the blocks in their order.
#include "common/row_blocks.h"
#include "ops/qk_norm_rope/qk_norm_rope.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(FORWARD, qk_norm_rope_forward);
SNAKELM_KERNEL_TABLE(BACKWARD, qk_norm_rope_backward);

int64_t positions(const QkNormRopeProblem& problem) { return problem.batch * problem.time; }

int64_t numbers(const QkNormRopeProblem& problem) {
  return positions(problem) * (problem.parts[0].heads + problem.parts[1].heads) * problem.dim;
}

}  // namespace

const char* qk_norm_rope_forward_cpu(const QkNormRopeProblem& problem, int level, int threads,
                                     ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(FORWARD, static_cast<Isa>(isa));
  RowBlocks(positions(problem))
      .run(numbers(problem), threads, parallel_for,
           [&](int64_t, int64_t first, int64_t last) { kernel(problem, first, last); });
  return nullptr;
}

const char* qk_norm_rope_backward_cpu(const QkNormRopeProblem& problem, int level, int threads,
                                      ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const RowBlocks blocks(positions(problem));
  BlockSums sums(blocks, 2 * problem.dim);
  if (!sums.allocated()) return "out of memory for the weights' gradients";

  const auto kernel = linked_at_most(BACKWARD, static_cast<Isa>(isa));
  blocks.run(numbers(problem), threads, parallel_for,
             [&](int64_t block, int64_t first, int64_t last) {
               kernel(problem, first, last, sums.start(block));
             });
  sums.total(0, problem.dim, problem.parts[0].grad_weight);
  sums.total(problem.dim, problem.dim, problem.parts[1].grad_weight);
  return nullptr;
}

}  // namespace snakelm
