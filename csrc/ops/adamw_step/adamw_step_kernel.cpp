// AdamW's update on one CPU core, for any vector width; compiled once for each instruction set
// (common/isa.h).
#include "ops/adamw_step/adamw_step.h"

#include "common/rows.h"

namespace snakelm::SNAKELM_ISA {

SNAKELM_INLINE Vec root_of(Vec x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (Vec)_mm256_sqrt_ps((__m256)x);
#else
  for (int i = 0; i < LANES; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

void adamw_step(const AdamwProblem& p, int64_t parameter, int64_t first, int64_t count) {
  const float* const gradient = p.gradients[parameter] + first;
  float* const weight = p.parameters[parameter] + first;
  float* const average = p.averages[parameter] + first;
  float* const square = p.squares[parameter] + first;
  BFloat16* const copy =
      p.copies[parameter] ? static_cast<BFloat16*>(p.copies[parameter]) + first : nullptr;
  const Vec scale = splat(p.scale), rate = splat(-p.rates[parameter]), eps = splat(p.eps);
  const Vec root = splat(1.0f / p.root), beta2 = splat(p.beta2);
  const Vec rest1 = splat(p.rest1), rest2 = splat(p.rest2);
  along(count, [&](int64_t j, auto lanes) {
    const Vec g = read(gradient + j, lanes) * scale;
    const Vec before = read(average + j, lanes);
    const Vec m = multiply_add(rest1, g - before, before);
    const Vec v = multiply_add(rest2 * g, g, beta2 * read(square + j, lanes));
    write(m, average + j, lanes);
    write(v, square + j, lanes);
    const Vec moved = read(weight + j, lanes) + rate * m / multiply_add(root_of(v), root, eps);
    write(moved, weight + j, lanes);
    if (copy) write(moved, copy + j, lanes);
  });
}

}  // namespace snakelm::SNAKELM_ISA
