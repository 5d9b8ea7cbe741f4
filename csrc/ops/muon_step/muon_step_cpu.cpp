// Chooses the instruction set and hands matrices to threads.
#include "ops/muon_step/muon_step.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(MOMENTUM, muon_momentum);
SNAKELM_KERNEL_TABLE(ORTHOGONALIZE, orthogonalize);
SNAKELM_KERNEL_TABLE(UPDATE, muon_update);

}  // namespace

const char* muon_step_cpu(const MuonStepProblem& problem, int level, int orthogonalize_level,
                          int threads, ParallelFor parallel_for) {
  const int isa = isa_level(level), tiles = isa_level(orthogonalize_level);
  if (isa < 0 || tiles < 0) return NO_SUCH_ISA;
  if (!problem.momentum.size) return nullptr;

  const auto momentum = linked_at_most(MOMENTUM, static_cast<Isa>(isa));
  const auto orthogonalize = linked_at_most(ORTHOGONALIZE, static_cast<Isa>(tiles));
  const auto update = linked_at_most(UPDATE, static_cast<Isa>(isa));
  const bool done =
      for_each_item(problem.orthogonalize.matrices, threads, parallel_for, [&](int64_t matrix) {
        momentum(problem.momentum, matrix);
        orthogonalize(problem.orthogonalize, matrix);
        update(problem.update, matrix);
      });
  return done ? nullptr : "out of memory for the tiles of a matrix";
}

}  // namespace snakelm
