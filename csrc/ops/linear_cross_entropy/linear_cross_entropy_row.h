// What the kernels of linear cross-entropy share: rows of a tensor in some order, and the
// mathematics of one row.
//
// The target's logit never enters the softmax sums: with o = log sum of the others and l its logit,
//
//   s - l = log(1 + exp(o - l))        1 - p_target = 1 / (1 + exp(l - o))
//
// hold their accuracy where the model is sure, and its term of the gradient is not rounded.
#pragma once

#include <type_traits>

#include "common/rows.h"
#include "ops/linear_cross_entropy/linear_cross_entropy.h"

namespace snakelm::SNAKELM_ISA {

constexpr float LOG2_OF_E = 1.4426950408889634f, INFINITE = __builtin_inff();
constexpr float MASKED = -3.4e38f;  // a logit whose exponential is zero
constexpr float LEAST = -1.7e38f;   // of a maximum: MASKED stays far below
// How far a logit may pass the maximum that was in use before sums are scaled anew.
constexpr float TOLERATED = 8.0f;

SNAKELM_INLINE int64_t up_to_whole(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Rows of a tensor in some order: `index` null for their own.
struct Chosen {
  Rows rows;
  const int64_t* index;
  bool as_x;  // of x's type, not of weight's

  int64_t at(int64_t i) const { return index ? index[i] : i; }
};

// tanh(x) within 3e-7 of itself: by exp(-2 |x|), and by its series where that cancels.
SNAKELM_INLINE Vec tanh_of(Vec x) {
  const Vec size = (Vec)((WordVec)x & 0x7FFFFFFFu), square = x * x;
  const Vec e = exp2<5>(size * splat(-2.0f * LOG2_OF_E));
  const Vec far = multiply_add(splat(-2.0f) * e, reciprocal(splat(1.0f) + e), splat(1.0f));
  Vec series = multiply_add(square, splat(62.0f / 2835.0f), splat(-17.0f / 315.0f));
  series = multiply_add(series, square, splat(2.0f / 15.0f));
  series = multiply_add(series, square, splat(-1.0f / 3.0f));
  const Vec near = multiply_add(series * square, size, size);
  const Vec positive = size < splat(0.25f) ? near : far;
  return (Vec)((WordVec)positive | ((WordVec)x & 0x80000000u));
}

// d (c t) / d logit from t = tanh(l / c); 1 where there is no cap, 0 for MASKED.
template <bool CAPPED>
SNAKELM_INLINE Vec slope(Vec t) {
  if constexpr (!CAPPED) return splat(1.0f);
  const Vec bounded = maximum(splat(-1.0f), t);
  return splat(1.0f) - bounded * bounded;
}

// Numbers of `weight` as x's type X has them.
template <class X, class From, class Lanes>
SNAKELM_INLINE Vec as(const From* from, Lanes lanes) {
  const Vec v = read(from, lanes);
  if constexpr (sizeof(From) > sizeof(X)) {
    BFloat16 narrow[LANES];
    store_narrow(v, narrow);
    return load_wide(narrow);
  }
  return v;
}

struct RowLoss {
  float loss, factor, target;  // RowTerms has the latter two
};

// maximum: what all logits were taken less; others: the sum of the exponentials of all but the
// target's; picked: the target's logit. Logits in units of the softcap.
inline RowLoss loss_of(const LinearCrossEntropyProblem& p, float maximum, float others,
                       float picked) {
  const float unit = p.softcap == 0 ? 1.0f : p.softcap, logit = picked * unit;
  // Log-sum of the others, less the logit.
  const float beyond = (maximum - picked) * unit + __builtin_logf(others);
  const float e = __builtin_expf(beyond > 0 ? -beyond : beyond);
  float loss = (beyond > 0 ? beyond : 0.0f) + __builtin_log1pf(e);
  float rest = (beyond > 0 ? 1.0f : e) / (1.0f + e);  // 1 - the target's probability
  if (logit == INFINITE || beyond != beyond) loss = rest = logit - logit + beyond;

  const float log_sum = logit + loss, slant = 2.0f * p.z_loss * log_sum;
  float target = slant * (1.0f - rest) - rest;
  if (p.softcap != 0) target *= 1.0f - picked * picked;
  const float factor = others == 0 ? 0.0f : rest / others * (1.0f + slant);
  return {p.z_loss == 0 ? loss : loss + p.z_loss * log_sum * log_sum, factor, target};
}

}  // namespace snakelm::SNAKELM_ISA
