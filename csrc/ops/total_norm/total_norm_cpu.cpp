// Chooses the instruction set, hands pieces to threads, adds their sums up in order.
#include "ops/total_norm/total_norm.h"

#include <cmath>

#include "common/chunks.h"

namespace snakelm {
namespace {

SNAKELM_KERNEL_TABLE(KERNELS, total_norm);

}  // namespace

const char* total_norm_cpu(const TotalNormProblem& problem, int level, int threads,
                           ParallelFor parallel_for) {
  const int isa = isa_level(level);
  if (isa < 0) return NO_SUCH_ISA;

  const auto kernel = linked_at_most(KERNELS, static_cast<Isa>(isa));
  const Chunks chunks(problem.sizes);
  std::vector<double> sums(chunks.count());
  chunks.run(threads, parallel_for, [&](int64_t i, const Chunk& chunk) {
    sums[i] = kernel(problem.arrays[chunk.array] + chunk.first, chunk.count);
  });

  double total = 0;
  for (const double sum : sums) total += sum;
  *problem.norm = static_cast<float>(std::sqrt(total));
  return nullptr;
}

}  // namespace snakelm
