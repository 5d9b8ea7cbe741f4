// A row of any length, vector by vector: whole vectors first, then what is left over. For kernels
// only (common/isa.h).
#pragma once

#include "common/element.h"
#include "common/simd.h"

namespace snakelm::SNAKELM_ISA {

// How many lanes of a vector lie in the row. The type tells: whole vectors need no test.
struct Whole {};
struct Part {
  int count;
};

template <class T>
SNAKELM_INLINE Vec read(const T* from, Whole) {
  return load_wide(from);
}
template <class T>
SNAKELM_INLINE Vec read(const T* from, Part part) {
  return load_wide_part(from, part.count);
}
template <class T>
SNAKELM_INLINE void write(Vec v, T* to, Whole) {
  store_narrow(v, to);
}
template <class T>
SNAKELM_INLINE void write(Vec v, T* to, Part part) {
  for (int i = 0; i < part.count; ++i) from_float(v[i], to + i);
}

// Row i: of the caller's, and of dense output.
template <class T>
SNAKELM_INLINE const T* row(const Rows& rows, int64_t i) {
  return static_cast<const T*>(rows.data) + i * rows.row;
}
template <class T>
SNAKELM_INLINE T* row(void* data, int64_t i, int64_t width) {
  return static_cast<T*>(data) + i * width;
}

// Calls step(position, Whole or Part) along a row of n numbers.
template <class Step>
SNAKELM_INLINE void along(int64_t n, const Step& step) {
  int64_t j = 0;
  for (; j + LANES <= n; j += LANES) step(j, Whole{});
  if (j < n) step(j, Part{static_cast<int>(n - j)});
}

// The same, for step(position, width, sums): four sums at once, since one would wait for its own
// last addition. `Sums` starts at zeros and has an operator+.
template <class Sums, class Step>
SNAKELM_INLINE Sums sum_along(int64_t n, const Step& step) {
  Sums a{}, b{}, c{}, d{};
  int64_t j = 0;
  for (; j + 4 * LANES <= n; j += 4 * LANES) {
    step(j, Whole{}, a);
    step(j + LANES, Whole{}, b);
    step(j + 2 * LANES, Whole{}, c);
    step(j + 3 * LANES, Whole{}, d);
  }
  for (; j + LANES <= n; j += LANES) step(j, Whole{}, a);
  if (j < n) step(j, Part{static_cast<int>(n - j)}, b);
  return (a + b) + (c + d);
}

// 1 / sqrt(mean + eps), the mean of `width` squares that add up to `squares`.
SNAKELM_INLINE float inverse_root(float squares, int64_t width, float eps) {
  return 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
}
// -r^2 mean, r the inverse root: what s is multiplied by in a norm's gradient. Zero where the
// squares overflowed and r is zero, whatever the mean became.
SNAKELM_INLINE float slope_of(float inverse, float mean) {
  return inverse == 0.0f ? 0.0f : -mean * inverse * inverse;
}

}  // namespace snakelm::SNAKELM_ISA
