// RMS-norm and rotation of heads on one CPU core, for any vector width; compiled once for each
// instruction set (common/isa.h).
//
// Each head is walked twice, first for its sums, then for its results. HALF: see with_half.
#include "common/rotate.h"
#include "ops/qk_norm_rope/qk_norm_rope.h"

namespace snakelm::SNAKELM_ISA {

// What a head is scaled and turned by.
struct Head {
  const float *weight, *cos, *sin;
  int64_t half;
  float eps;
};

template <class T, int HALF>
SNAKELM_INLINE void forward_head(const Head& head, const T* x, T* out) {
  const int64_t half = HALF ? HALF : head.half;
  const Vec squares = sum_along<Vec>(half, [&](int64_t j, auto lanes, Vec& sum) {
    const Pair v = read_pair(x, half, j, lanes);
    sum = multiply_add(v.a, v.a, multiply_add(v.b, v.b, sum));
  });

  const Vec r = splat(inverse_root(reduce_sum(squares), 2 * half, head.eps));
  along(half, [&](int64_t j, auto lanes) {
    const Pair v = read_pair(x, half, j, lanes), w = read_pair(head.weight, half, j, lanes);
    const Pair normed = {v.a * r * w.a, v.b * r * w.b};
    const Vec c = read(head.cos + j, lanes), s = read(head.sin + j, lanes);
    write_pair(turned(normed, c, s), out, half, j, lanes);
  });
}

// Gradients of what was turned.
template <class T, class Lanes>
SNAKELM_INLINE Pair before_turning(const Head& head, const T* grad, int64_t half, int64_t j,
                                   Lanes lanes) {
  const Vec c = read(head.cos + j, lanes), s = read(head.sin + j, lanes);
  return turned_back(read_pair(grad, half, j, lanes), c, s);
}

struct TwoSums {
  Vec squares, products;  // x^2, grad w x

  SNAKELM_INLINE TwoSums operator+(const TwoSums& other) const {
    return {squares + other.squares, products + other.products};
  }
};

template <class T, int HALF>
SNAKELM_INLINE void backward_head(const Head& head, const T* grad, const T* x, T* grad_x,
                                  float* grad_weight) {
  const int64_t half = HALF ? HALF : head.half;
  const float* const weight = head.weight;
  const auto sums = sum_along<TwoSums>(half, [&](int64_t j, auto lanes, TwoSums& sum) {
    const Pair g = before_turning(head, grad, half, j, lanes);
    const Pair v = read_pair(x, half, j, lanes), w = read_pair(weight, half, j, lanes);
    sum.squares = multiply_add(v.a, v.a, multiply_add(v.b, v.b, sum.squares));
    sum.products = multiply_add(v.a * g.a, w.a, sum.products);
    sum.products = multiply_add(v.b * g.b, w.b, sum.products);
  });
  const float inverse = inverse_root(reduce_sum(sums.squares), 2 * half, head.eps);
  const float mean = reduce_sum(sums.products) / static_cast<float>(2 * half);

  const Vec r = splat(inverse), back = splat(slope_of(inverse, mean));
  const auto finish = [&](int64_t at, Vec turned, auto lanes) {
    const Vec v = read(x + at, lanes), so_far = read(grad_weight + at, lanes);
    write(multiply_add(turned, v * r, so_far), grad_weight + at, lanes);
    write(multiply_add(v, back, turned * read(weight + at, lanes)) * r, grad_x + at, lanes);
  };
  along(half, [&](int64_t j, auto lanes) {
    const Pair g = before_turning(head, grad, half, j, lanes);
    finish(j, g.a, lanes);
    finish(half + j, g.b, lanes);
  });
}

// What the heads of position i of the B T share.
SNAKELM_INLINE Head head_at(const QkNormRopeProblem& p, const ProjectedHeads& part, int64_t i) {
  const int64_t half = p.dim / 2, angle = angle_at(p.angles, p.time, half, i);
  return {part.weight, p.angles.cos + angle, p.angles.sin + angle, half, p.eps};
}

template <class T, int HALF>
void forward_positions(const QkNormRopeProblem& p, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) {
    for (const ProjectedHeads& part : p.parts) {
      const Head head = head_at(p, part, i);
      T* const out = row<T>(part.out, i, part.heads * p.dim);
      const T* const x = heads_at<T>(part.x, p.time, i);
      for (int64_t h = 0; h < part.heads; ++h)
        forward_head<T, HALF>(head, x + h * part.x.head, out + h * p.dim);
    }
  }
}

template <class T, int HALF>
void backward_positions(const QkNormRopeProblem& p, int64_t first, int64_t last,
                        float* grad_weights) {
  for (int64_t i = first; i < last; ++i) {
    for (int k = 0; k < 2; ++k) {
      const ProjectedHeads& part = p.parts[k];
      const Head head = head_at(p, part, i);
      T* const grad_x = row<T>(part.grad_x, i, part.heads * p.dim);
      const T *const grad = heads_at<T>(part.grad_out, p.time, i), *const x = heads_at<T>(
                                                                       part.x, p.time, i);
      for (int64_t h = 0; h < part.heads; ++h) {
        backward_head<T, HALF>(head, grad + h * part.grad_out.head, x + h * part.x.head,
                               grad_x + h * p.dim, grad_weights + k * p.dim);
      }
    }
  }
}

void qk_norm_rope_forward(const QkNormRopeProblem& p, int64_t first, int64_t last) {
  with_half(p.dim, [&](auto half) {
    p.type == Element::float32 ? forward_positions<float, half()>(p, first, last)
                               : forward_positions<BFloat16, half()>(p, first, last);
  });
}

void qk_norm_rope_backward(const QkNormRopeProblem& p, int64_t first, int64_t last,
                           float* grad_weights) {
  with_half(p.dim, [&](auto half) {
    p.type == Element::float32 ? backward_positions<float, half()>(p, first, last, grad_weights)
                               : backward_positions<BFloat16, half()>(p, first, last, grad_weights);
  });
}

}  // namespace snakelm::SNAKELM_ISA
