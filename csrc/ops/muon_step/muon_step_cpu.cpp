// Chooses the instruction set and hands pieces of matrices to threads.
#include "ops/muon_step/muon_step.h"

#include "common/chunks.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(MOMENTUM, muon_momentum);
SNAKELM_KERNEL_TABLE(UPDATE, muon_update);

template <class Kernel, class Problem>
const char* run(Kernel* const (&kernels)[ISA_COUNT], const Problem& problem, size_t matrices,
                int level, int threads, ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(kernels, static_cast<Isa>(isa));
  Chunks(std::vector<int64_t>(matrices, problem.size))
      .run(threads, parallel_for, [&](int64_t, const Chunk& chunk) {
        kernel(problem, chunk.array, chunk.first, chunk.count);
      });
  return nullptr;
}

}  // namespace

const char* muon_momentum_cpu(const MuonMomentumProblem& problem, int level, int threads,
                              ParallelFor parallel_for) {
  return run(MOMENTUM, problem, problem.gradients.size(), level, threads, parallel_for);
}

const char* muon_update_cpu(const MuonUpdateProblem& problem, int level, int threads,
                            ParallelFor parallel_for) {
  return run(UPDATE, problem, problem.parameters.size(), level, threads, parallel_for);
}

}  // namespace snakelm
