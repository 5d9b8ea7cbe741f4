// A sum of squares on one CPU core, for any vector width; compiled once for each instruction set
// (common/isa.h).
#include "ops/total_norm/total_norm.h"

#include "common/rows.h"

namespace snakelm::SNAKELM_ISA {

constexpr int HALF = LANES / 2;
typedef float HalfOfVec __attribute__((vector_size(HALF * 4)));
typedef double DoubleVec __attribute__((vector_size(HALF * 8)));

SNAKELM_INLINE DoubleVec squares(const float* x) {
  HalfOfVec v;
  std::memcpy(&v, x, sizeof v);
  const DoubleVec wide = __builtin_convertvector(v, DoubleVec);
  return wide * wide;
}

double total_norm(const float* x, int64_t count) {
  DoubleVec a{}, b{}, c{}, d{};  // one sum would wait for its own last addition
  int64_t j = 0;
  for (; j + 4 * HALF <= count; j += 4 * HALF) {
    a += squares(x + j), b += squares(x + j + HALF);
    c += squares(x + j + 2 * HALF), d += squares(x + j + 3 * HALF);
  }
  const DoubleVec lanes = (a + b) + (c + d);
  double sum = 0;
  for (int i = 0; i < HALF; ++i) sum += lanes[i];
  for (; j < count; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  return sum;
}

}  // namespace snakelm::SNAKELM_ISA
