// Both passes on AMX's tiles; linear_cross_entropy_squares.h has the layout and the products.
//
// A core runs tiles and vectors at the same time where their instructions lie close together: the
// exponentials of one square of logits are computed between the products of the next one's.
#pragma once

#include "ops/linear_cross_entropy/linear_cross_entropy_squares.h"

namespace snakelm::SNAKELM_ISA {

#if defined(__AMX_BF16__)

// 2^x as exp2<4> of common/simd.h, relative error 3e-6: x - floor(x) by one instruction, whose
// floor the scaling takes again. No bounds are needed: -inf gives 0, NaN NaN.
SNAKELM_INLINE Vec exp2_by_floor(Vec x) {
  const Vec f = (Vec)_mm512_reduce_ps((__m512)x, 0x09);  // x - floor(x), in [0, 1)
  Vec p = multiply_add(splat(1.342515442e-2f), f, splat(5.224537404e-2f));
  p = multiply_add(p, f, splat(2.412785561e-1f));
  p = multiply_add(p, f, splat(6.930451545e-1f));
  p = multiply_add(p, f, splat(1.0f));
  return (Vec)_mm512_scalef_ps((__m512)p, (__m512)x);
}

template <class W>
class TilePass {
  using X = BFloat16;

 public:
  TilePass(const LinearCrossEntropyProblem& problem, int64_t first, int64_t last)
      : p(problem), unit(p.softcap == 0 ? 1.0f : p.softcap), rate(unit * LOG2_OF_E), first(first),
        count(last - first), padded(up_to_whole(count, SIDE)),
        memory(Squares<W>::bytes(p.width, count) + padded * 4 * (LANES + 3) + 4 * 64 +
               sizeof(Tokens)),
        tiles(memory, p.width, count), total(memory.take<float>(padded * LANES)),
        most(memory.take<float>(padded)), picked(memory.take<float>(padded)),
        offset(memory.take<int32_t>(padded)), tokens(memory.take<Tokens>(1)), x{p.x, p.kept, true},
        weight{p.weight, nullptr, false} {}

  // Losses, terms and gradients of kept rows [first, last).
  void rows() {
    tiles.pack_fixed(x, first, count);
    std::memset(total, 0, padded * LANES * sizeof(float));
    for (int64_t f = 0; f < padded; ++f) most[f] = LEAST, picked[f] = 0;
    for (int64_t v = 0; v < p.vocabulary; v += STREAMED) {
      for (int64_t f = 0; f < padded; ++f)
        offset[f] = f < count ? within(p.target[p.kept[first + f]] - v, STREAMED) : -1;
      if (p.grad_x) {
        p.softcap == 0 ? stream<true, true, false>(v) : stream<true, true, true>(v);
      } else {
        p.softcap == 0 ? stream<true, false, false>(v) : stream<true, false, true>(v);
      }
    }
    for (int64_t f = 0; f < count; ++f) finish_row(f);
  }

  // The gradient of weight rows [first, last).
  void vocabulary() {
    tiles.pack_fixed(weight, first, count);
    for (int64_t i = 0; i < p.rows; i += STREAMED) {
      for (int64_t m = 0; m < STREAMED; ++m) {
        const bool is_one = i + m < p.rows;
        const RowTerms terms = is_one ? p.terms[i + m] : RowTerms{0, 0, 0};
        tokens->most[m] = terms.maximum, tokens->factor[m] = terms.factor;
        tokens->target[m] = terms.target;
        tokens->offset[m] = is_one ? within(p.target[p.kept[i + m]] - first, count) : -1;
      }
      p.softcap == 0 ? stream<false, true, false>(i) : stream<false, true, true>(i);
    }
    for (int64_t f = 0; f < count; ++f) {
      W* const to = row<W>(p.grad_weight, first + f, p.width);
      along(p.width, [&](int64_t c, auto lanes) {
        write(load(tiles.sums_of(f, c)) * splat(p.scale), to + c, lanes);
      });
    }
  }

 private:
  // Streamed rows of the vocabulary pass.
  struct Tokens {
    alignas(64) float most[STREAMED], factor[STREAMED], target[STREAMED];  // RowTerms
    alignas(64) int32_t offset[STREAMED];  // the target among the fixed rows, or -1
  };

  SNAKELM_INLINE static int32_t within(int64_t offset, int64_t end) {
    return static_cast<int32_t>(offset >= 0 && offset < end ? offset : -1);
  }

  // All fixed rows against the next STREAMED from `at` on, or as many as there are: for ROWS the
  // fixed ones are of x and the vocabulary streams.
  template <bool ROWS, bool SUMS, bool CAPPED>
  void stream(int64_t at) const {
    const Chosen& from = ROWS ? weight : x;
    const int64_t end = ROWS ? p.vocabulary : p.rows, n = end - at < STREAMED ? end - at : STREAMED;
    const int64_t squares = (n + SIDE - 1) / SIDE, all = tiles.strips * squares;
    tiles.pack_streamed(from, at, n, SUMS);

    SquareProduct next = tiles.product(0, 0, tiles.logits);
    zero_sums();
    next.advance(next.steps);
    next.store();
    for (int64_t i = 0; i < all; ++i) {
      const int64_t strip = i / squares, square = i % squares;
      float* const now = next.to;
      if (i + 1 < all) {
        next = tiles.product((i + 1) / squares, (i + 1) % squares,
                             tiles.logits + (i % 2 ? 0 : 4 * TILE));
        zero_sums();
      } else {
        next.done = next.steps = 0;
      }

      tiles.fetch(from, at + STREAMED, end, i, all);
      if constexpr (CAPPED) cap(now);
      if (n - square * SIDE < SIDE) blank(now, n - square * SIDE, ROWS ? MASKED : 0.0f);
      if constexpr (ROWS) {
        if (any_within(offset + strip * SIDE, square * SIDE)) take_targets(now, strip, square);
        grow(now, strip, square);
        exponentials<SUMS, CAPPED>(now, strip, square, next);
      } else {
        weigh<CAPPED>(now, strip, square, next);
      }
      if (next.steps) next.store();
      if (SUMS && square + 1 == squares) tiles.add_sums(strip, squares);
    }
  }

  // Logits become tanh(l / c), in units of c: the slope of c tanh(l / c) needs it unrounded.
  SNAKELM_INLINE void cap(float* now) const {
    const Vec inverse = splat(1.0f / p.softcap);
    for (int64_t i = 0; i < 4 * TILE; i += LANES) store(now + i, tanh_of(load(now + i) * inverse));
  }

  // Columns from `end` on are no logits.
  static void blank(float* now, int64_t end, float value) {
    for (int64_t f = 0; f < SIDE; ++f)
      for (int64_t m = end; m < SIDE; ++m) tiles_row(now, f)[m / 16 * TILE + m % 16] = value;
  }
  SNAKELM_INLINE static float* tiles_row(float* square, int64_t f) {
    return Squares<W>::row_of(square, f);
  }

  // Does one of 32 offsets lie in [base, base + 32)?
  SNAKELM_INLINE static bool any_within(const int32_t* offsets, int64_t base) {
    IntVec found = splat_int(0);
    for (int half = 0; half < SIDE; half += LANES) {
      IntVec at;
      std::memcpy(&at, offsets + half, sizeof at);
      at -= static_cast<int32_t>(base);
      found |= (at >= 0) & (at < static_cast<int32_t>(SIDE));
    }
    return any_negative(found);
  }

  void take_targets(float* now, int64_t strip, int64_t square) const {
    for (int64_t f = 0; f < SIDE; ++f) {
      const int64_t m = offset[strip * SIDE + f] - square * SIDE;
      if (m < 0 || m >= SIDE) continue;
      float* const at = tiles_row(now, f) + m / 16 * TILE + m % 16;
      picked[strip * SIDE + f] = *at, *at = MASKED;
    }
  }

  // Raises the maxima of rows with a logit that is far above.
  SNAKELM_INLINE void grow(float* now, int64_t strip, int64_t square) const {
    const float* const maxima = most + strip * SIDE;
    Vec a = splat(MASKED), b = a;
    for (int64_t f = 0; f < SIDE; f += 2) {
      const float *const even = tiles_row(now, f), *const odd = even + 16;
      a = maximum(maximum(load(even), load(even + TILE)) - splat(maxima[f]), a);
      b = maximum(maximum(load(odd), load(odd + TILE)) - splat(maxima[f + 1]), b);
    }
    if (any_negative(maximum(a, b) > splat(TOLERATED / unit))) raise(now, strip, square);
  }
  __attribute__((noinline)) void raise(float* now, int64_t strip, int64_t square) const {
    for (int64_t f = 0; f < SIDE; ++f) {
      const float* const own = tiles_row(now, f);
      const float seen = reduce_maximum(maximum(load(own), load(own + TILE)));
      float& old = most[strip * SIDE + f];
      if (!(seen > old + TOLERATED / unit)) continue;
      const Vec by = exp2_by_floor(splat((old - seen) * rate));
      old = seen;
      float* const sum = total + (strip * SIDE + f) * LANES;
      store(sum, load(sum) * by);
      if (p.grad_x) tiles.scale_row(strip, f, square, by);
    }
  }

  static constexpr int64_t GROUPS = 8, EACH = SIDE / GROUPS;

  // exp(logit - maximum) into totals and, for SUMS, terms.
  template <bool SUMS, bool CAPPED>
  SNAKELM_INLINE void exponentials(float* now, int64_t strip, int64_t square,
                                   SquareProduct& next) const {
    const float* const maxima = most + strip * SIDE;
    float* const totals = total + strip * SIDE * LANES;
    for (int64_t g = 0; g < GROUPS; ++g) {
      next.advance((g + 1) * next.steps / GROUPS);
#pragma GCC unroll 4
      for (int64_t f = g * EACH; f < (g + 1) * EACH; ++f) {
        const float* const own = tiles_row(now, f);
        const Vec m = splat(maxima[f]), low = load(own), high = load(own + TILE);
        const Vec a = exp2_by_floor((low - m) * splat(rate));
        const Vec b = exp2_by_floor((high - m) * splat(rate));
        store(totals + f * LANES, load(totals + f * LANES) + (a + b));
        if constexpr (SUMS)
          tiles.store_terms(square, f, a * slope<CAPPED>(low), b * slope<CAPPED>(high));
      }
    }
  }

  // d loss_m / d logit[f, m], m a token.
  template <bool CAPPED>
  SNAKELM_INLINE void weigh(float* now, int64_t strip, int64_t square, SquareProduct& next) const {
    const int64_t first_token = square * SIDE, second = first_token + LANES;
    const Vec m[2] = {load(tokens->most + first_token), load(tokens->most + second)};
    const Vec factor[2] = {load(tokens->factor + first_token), load(tokens->factor + second)};
    for (int64_t g = 0; g < GROUPS; ++g) {
      next.advance((g + 1) * next.steps / GROUPS);
#pragma GCC unroll 4
      for (int64_t f = g * EACH; f < (g + 1) * EACH; ++f) {
        const float* const own = tiles_row(now, f);
        const Vec low = load(own), high = load(own + TILE);
        const Vec a = exp2_by_floor((low - m[0]) * splat(rate)) * factor[0];
        const Vec b = exp2_by_floor((high - m[1]) * splat(rate)) * factor[1];
        tiles.store_terms(square, f, a * slope<CAPPED>(low), b * slope<CAPPED>(high));
      }
    }

    if (!any_within(tokens->offset + first_token, strip * SIDE)) return;
    for (int64_t i = 0; i < SIDE; ++i) {
      const int64_t f = tokens->offset[first_token + i] - strip * SIDE;
      if (f < 0 || f >= SIDE) continue;
      from_float(tokens->target[first_token + i], tiles.terms_of(square, f) + i);
    }
  }

  // Loss, terms and gradient of kept row first + f.
  void finish_row(int64_t f) const {
    const float others = reduce_sum(load(total + f * LANES));
    const RowLoss own = loss_of(p, most[f], others, picked[f]);
    p.loss[first + f] = own.loss;
    p.terms[first + f] = {most[f], own.factor, own.target};
    if (!p.grad_x) return;

    const int64_t at = p.kept[first + f];
    const W* const target = row<W>(p.weight, p.target[at]);
    X* const to = row<X>(p.grad_x, at, p.width);
    const Vec of_others = splat(p.scale * own.factor), of_target = splat(p.scale * own.target);
    along(p.width, [&](int64_t c, auto lanes) {
      const Vec w = as<X>(target + c, lanes);
      write(multiply_add(w, of_target, load(tiles.sums_of(f, c)) * of_others), to + c, lanes);
    });
  }

  const LinearCrossEntropyProblem& p;
  const float unit, rate;              // a logit in `logits` is this many; and that times log2(e)
  const int64_t first, count, padded;  // of the fixed rows; up to whole strips
  Workspace memory;
  const Squares<W> tiles;
  float *const total, *const most, *const picked;  // of each fixed row of x; total: [LANES]
  int32_t* const offset;  // of each: its target among the streamed rows, or -1
  Tokens* const tokens;
  const Chosen x, weight;
  const FullTiles shapes;
};

#endif

}  // namespace snakelm::SNAKELM_ISA
