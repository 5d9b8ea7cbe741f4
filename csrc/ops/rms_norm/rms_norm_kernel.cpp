// Root-mean-square norm on one CPU core, for any vector width; compiled once for each instruction
// set (common/isa.h).
//
// Each row is walked twice, first for its sums, then for its results; the second time it is in the
// nearest cache.
#include "common/rows.h"
#include "ops/rms_norm/rms_norm.h"

namespace snakelm::SNAKELM_ISA {

// x + residual to sum, rounded; returns the sum of its squares, lane by lane.
template <class T>
SNAKELM_INLINE Vec add_row(const T* x, const T* residual, T* sum, int64_t width) {
  return sum_along<Vec>(width, [&](int64_t j, auto lanes, Vec& squares) {
    write(read(x + j, lanes) + read(residual + j, lanes), sum + j, lanes);
    const Vec s = read(sum + j, lanes);  // as it was rounded
    squares = multiply_add(s, s, squares);
  });
}

template <class T>
SNAKELM_INLINE Vec squares_of(const T* x, int64_t width) {
  return sum_along<Vec>(width, [&](int64_t j, auto lanes, Vec& squares) {
    const Vec v = read(x + j, lanes);
    squares = multiply_add(v, v, squares);
  });
}

template <class T>
void forward_row(const RmsNormProblem& p, int64_t i) {
  const T* s = row<T>(p.x, i);
  Vec squares;
  if (p.residual.data) {
    squares = add_row(s, row<T>(p.residual, i), row<T>(p.sum, i, p.width), p.width);
    s = row<T>(p.sum, i, p.width);
  } else {
    squares = squares_of(s, p.width);
  }

  T* const out = row<T>(p.out, i, p.width);
  const float* const weight = p.weight;
  const Vec r = splat(inverse_root(reduce_sum(squares), p.width, p.eps));
  along(p.width, [&](int64_t j, auto lanes) {
    const Vec normed = read(s + j, lanes) * r;
    write(weight ? normed * read(weight + j, lanes) : normed, out + j, lanes);
  });
}

struct TwoSums {
  Vec squares, products;  // s^2, grad w s

  SNAKELM_INLINE TwoSums operator+(const TwoSums& other) const {
    return {squares + other.squares, products + other.products};
  }
};

template <class T>
void backward_row(const RmsNormProblem& p, int64_t i, float* grad_weight) {
  const T *const s = row<T>(p.x, i), *const grad = row<T>(p.grad_out, i);
  const float* const weight = p.weight;
  const auto sums = sum_along<TwoSums>(p.width, [&](int64_t j, auto lanes, TwoSums& sums) {
    const Vec v = read(s + j, lanes), g = read(grad + j, lanes);
    sums.squares = multiply_add(v, v, sums.squares);
    sums.products = multiply_add(v, weight ? g * read(weight + j, lanes) : g, sums.products);
  });
  const float inverse = inverse_root(reduce_sum(sums.squares), p.width, p.eps);
  const float mean = reduce_sum(sums.products) / static_cast<float>(p.width);

  T* const grad_x = row<T>(p.grad_x, i, p.width);
  const T* const grad_sum = p.grad_sum.data ? row<T>(p.grad_sum, i) : nullptr;
  const Vec r = splat(inverse), back = splat(slope_of(inverse, mean));
  along(p.width, [&](int64_t j, auto lanes) {
    const Vec v = read(s + j, lanes);
    Vec g = read(grad + j, lanes);
    if (weight) {
      const Vec so_far = read(grad_weight + j, lanes);
      write(multiply_add(g, v * r, so_far), grad_weight + j, lanes);
      g = g * read(weight + j, lanes);
    }
    const Vec own = multiply_add(v, back, g) * r;
    write(grad_sum ? own + read(grad_sum + j, lanes) : own, grad_x + j, lanes);
  });
}

template <class T>
void forward_rows(const RmsNormProblem& p, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) forward_row<T>(p, i);
}

template <class T>
void backward_rows(const RmsNormProblem& p, int64_t first, int64_t last, float* grad_weight) {
  for (int64_t i = first; i < last; ++i) backward_row<T>(p, i, grad_weight);
}

void rms_norm_forward(const RmsNormProblem& p, int64_t first, int64_t last) {
  (p.type == Element::float32 ? forward_rows<float> : forward_rows<BFloat16>)(p, first, last);
}

void rms_norm_backward(const RmsNormProblem& p, int64_t first, int64_t last, float* grad_weight) {
  const auto rows = p.type == Element::float32 ? backward_rows<float> : backward_rows<BFloat16>;
  rows(p, first, last, grad_weight);
}

}  // namespace snakelm::SNAKELM_ISA
