// Newton-Schulz iterations of one matrix on one CPU core; compiled once for each instruction set
// (common/isa.h).
#include "ops/orthogonalize/orthogonalize.h"

#if defined(__AVX512BF16__)
#include "ops/orthogonalize/orthogonalize_blocks.h"
#else
#include "ops/orthogonalize/orthogonalize_floats.h"
#endif

namespace snakelm::SNAKELM_ISA {

void orthogonalize(const OrthogonalizeProblem& problem, int64_t matrix) {
#if defined(__AVX512BF16__)
  orthogonalize_in_tiles(problem, matrix);
#else
  FloatIterations(problem, matrix).run();
#endif
}

}  // namespace snakelm::SNAKELM_ISA
