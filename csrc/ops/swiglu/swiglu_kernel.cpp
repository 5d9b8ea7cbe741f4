// SwiGLU's gate on one CPU core, for any vector width; compiled once for each instruction set
// (common/isa.h).
#include "ops/swiglu/swiglu.h"

#include "common/rows.h"

namespace snakelm::SNAKELM_ISA {

// sigmoid(x), and one minus it, which is exact where the former rounds to one.
struct Sigmoid {
  Vec value, rest;
};

// exp(m) for m <= 0, 0 below -87.3 and for NaN; relative error 2e-7. What exp2<5> computes, of
// m - n ln 2 instead of m log2(e) - n: ln 2 in two parts, the first of so few bits that its product
// with n is exact (Cody and Waite 1980), leaves no rounded product to make up for.
SNAKELM_INLINE Vec exp_negative(Vec m) {
  constexpr float MAGIC = 12582912.0f;  // as exp2 rounds
  const Vec shifted = multiply_add(m, splat(1.44269504f), splat(MAGIC));
  const Vec n = shifted - splat(MAGIC);
  const Vec f = multiply_add(n, splat(-1.42860677e-6f), multiply_add(n, splat(-0.693145752f), m));
  Vec p = multiply_add(splat(8.290314723e-3f), f, splat(4.189793005e-2f));
  p = multiply_add(p, f, splat(1.666763622e-1f));
  p = multiply_add(p, f, splat(4.999914952e-1f));
  p = multiply_add(p, f, splat(9.999997072e-1f));
  p = multiply_add(p, f, splat(1.0f));
  const WordVec raised = (WordVec)p + ((WordVec)shifted << 23);
  return (Vec)((IntVec)raised & (m > splat(-87.3f)));
}

// From e = exp(-|x|), which can't overflow: 1 / (1 + e) is the larger of the two, e / (1 + e) the
// smaller. EXACT: to float32's accuracy rather than bfloat16's.
template <bool EXACT>
SNAKELM_INLINE Sigmoid sigmoid(Vec x) {
  const Vec minus = (Vec)((WordVec)x | 0x80000000u);  // -|x|
  Vec e;
  if constexpr (EXACT) {
    e = exp_negative(minus);
  } else {
    e = exp2<4>(minus * splat(1.44269504f));
  }
  const Vec large = reciprocal(splat(1.0f) + e), small = e * large;
  const IntVec negative = (IntVec)x < 0;  // the sign bit is all that a blend looks at
  return {negative ? small : large, negative ? large : small};
}

template <class T>
void forward_row(const T* gate, const T* up, T* out, int64_t width) {
  constexpr bool EXACT = sizeof(T) == sizeof(float);
  along(width, [&](int64_t j, auto lanes) {
    const Vec g = read(gate + j, lanes), u = read(up + j, lanes);
    write(g * sigmoid<EXACT>(g).value * u, out + j, lanes);
  });
}

template <class T>
void backward_row(const T* grad, const T* gate, const T* up, T* grad_gate, T* grad_up,
                  int64_t width) {
  constexpr bool EXACT = sizeof(T) == sizeof(float);
  along(width, [&](int64_t j, auto lanes) {
    const Vec g = read(gate + j, lanes), u = read(up + j, lanes), d = read(grad + j, lanes);
    const Sigmoid s = sigmoid<EXACT>(g);
    const Vec gated = g * s.value;
    write(d * u * multiply_add(gated, s.rest, s.value), grad_gate + j, lanes);
    write(d * gated, grad_up + j, lanes);
  });
}

template <class T>
void forward_rows(const SwigluProblem& p, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) {
    forward_row(row<T>(p.gate, i), row<T>(p.up, i), row<T>(p.out, i, p.width), p.width);
  }
}

template <class T>
void backward_rows(const SwigluProblem& p, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) {
    backward_row(row<T>(p.grad_out, i), row<T>(p.gate, i), row<T>(p.up, i),
                 row<T>(p.grad_gate, i, p.width), row<T>(p.grad_up, i, p.width), p.width);
  }
}

void swiglu_forward(const SwigluProblem& p, int64_t first, int64_t last) {
  (p.type == Element::float32 ? forward_rows<float> : forward_rows<BFloat16>)(p, first, last);
}

void swiglu_backward(const SwigluProblem& p, int64_t first, int64_t last) {
  (p.type == Element::float32 ? backward_rows<float> : backward_rows<BFloat16>)(p, first, last);
}

}  // namespace snakelm::SNAKELM_ISA
