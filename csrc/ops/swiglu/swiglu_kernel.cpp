// SwiGLU's gate on one CPU core, for any vector width; compiled once for each instruction set
// (common/isa.h).
#include "ops/swiglu/swiglu.h"

#include "common/rows.h"

namespace snakelm::SNAKELM_ISA {

// sigmoid(x), and one minus it, which is exact where the former rounds to one.
struct Sigmoid {
  Vec value, rest;
};

// From e = exp(-|x|), which can't overflow: 1 / (1 + e) is the larger of the two, e / (1 + e) the
// smaller. EXACT: to float32's accuracy rather than bfloat16's.
template <bool EXACT>
SNAKELM_INLINE Sigmoid sigmoid(Vec x) {
  constexpr float LOG2_E = 1.44269504f, LOG2_E_REST = 1.92596299e-8f, LN_2 = 0.693147181f;
  const Vec size = (Vec)((WordVec)x & 0x7FFFFFFF);
  const Vec power = size * splat(-LOG2_E);
  Vec e = exp2<EXACT ? 5 : 4>(power);
  if constexpr (EXACT) {
    // What rounding the product lost: half a unit of a power of -20 is 1e-6 of e.
    Vec lost = multiply_add(size, splat(-LOG2_E), splat(0.0f) - power);
    lost = multiply_add(size, splat(-LOG2_E_REST), lost);
    e = size < splat(80.0f) ? multiply_add(e, lost * splat(LN_2), e) : e;  // inf - inf is NaN
  }
  const Vec large = reciprocal(splat(1.0f) + e), small = e * large;
  const IntVec positive = x >= splat(0.0f);
  return {positive ? large : small, positive ? small : large};
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
    const Vec slope = s.value * multiply_add(g, s.rest, splat(1.0f));
    write(d * u * slope, grad_gate + j, lanes);
    write(d * (g * s.value), grad_up + j, lanes);
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
