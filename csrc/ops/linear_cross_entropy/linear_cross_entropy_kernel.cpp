// Linear cross-entropy on one CPU core, for any vector width; compiled once for each instruction
// set (common/isa.h). linear_cross_entropy.h has the equations, linear_cross_entropy_tiles.h the
// packing and the products.
#include "ops/linear_cross_entropy/linear_cross_entropy_amx.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_kept.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_tiles.h"

namespace snakelm::SNAKELM_ISA {

template <class X, class W, bool PAIRS>
class Pass {
 public:
  Pass(const LinearCrossEntropyProblem& problem, int64_t first, int64_t last)
      : p(problem), unit(p.softcap == 0 ? 1.0f : p.softcap), rate(unit * LOG2_OF_E), first(first),
        count(last - first), padded(up_to_whole(count, PANEL)),
        memory(Tiles::bytes(p.width, padded)), tiles(memory, p.width, padded),
        maximum(tiles.column), total(maximum + padded), picked(total + padded),
        x{p.x, p.kept, true}, weight{p.weight, nullptr, false} {}

  // Losses, terms and gradients of kept rows [first, last).
  void rows() {
    for (int64_t f = 0; f < padded; ++f) maximum[f] = LEAST, total[f] = 0, picked[f] = 0;
    tiles.pack_fixed(x, first, count);
    for (int64_t v = 0; v < p.vocabulary; v += BLOCK) {
      const int64_t n = load_streamed(weight, v, p.vocabulary, p.grad_x);
      for (int64_t panel = 0; panel * PANEL < padded; ++panel) {
        tiles.multiply_logits(panel, n, vectors(panel));
        cap(n, vectors(panel));
        take_targets(panel, v, n);
        if (p.grad_x) {
          if constexpr (!PAIRS && sizeof(X) == sizeof(float)) keep_terms(panel, v);
          exponentials<true>(panel, n);
          if (p.kept_exponentials) keep_maximum(panel, v);
          tiles.add_sums(panel, n, vectors(panel));
        } else {
          exponentials<false>(panel, n);
        }
      }
    }

    for (int64_t f = 0; f < count; ++f) {
      if (p.grad_x && f % LANES == 0) tiles.turn_sums(f / PANEL, f % PANEL);
      finish_row(f);
    }
  }

  // The gradient of weight rows [first, last).
  void vocabulary() {
    tiles.pack_fixed(weight, first, count);
    for (int64_t i = 0; i < p.rows; i += BLOCK) {
      const int64_t n = load_streamed(x, i, p.rows, true);
      for (int64_t panel = 0; panel * PANEL < padded; ++panel) {
        tiles.multiply_logits(panel, n, vectors(panel));
        cap(n, vectors(panel));
        weigh(panel, i, n);
        tiles.add_sums(panel, n, vectors(panel));
      }
    }

    for (int64_t f = 0; f < count; ++f) {
      if (f % LANES == 0) tiles.turn_sums(f / PANEL, f % PANEL);
      const float* const from = tiles.logits + f % LANES * tiles.row_length();
      W* const to = row<W>(p.grad_weight, first + f, p.width);
      along(p.width, [&](int64_t c, auto lanes) {
        write(read(from + c, lanes) * splat(p.scale), to + c, lanes);
      });
    }
  }

 private:
  using Tiles = LogitTiles<X, W, PAIRS>;
  static constexpr int K = Tiles::K;

  SNAKELM_INLINE int vectors(int64_t panel) const {
    const int64_t left = count - panel * PANEL;
    return static_cast<int>(left >= PANEL ? VECTORS : (left + LANES - 1) / LANES);
  }

  // The next BLOCK rows, or as many as there are: packed, and transposed too for `sums`.
  int64_t load_streamed(const Chosen& from, int64_t at, int64_t end, bool sums) const {
    const int64_t n = end - at < BLOCK ? end - at : BLOCK;
    const int64_t whole = up_to_whole(n, K * LANES);
    tiles.pack_rows(from, at, n, whole);
    if (sums) tiles.turn_rows(whole);
    return n;
  }

  // Terms lie where they are kept.
  void keep_terms(int64_t panel, int64_t v) {
    if (!p.kept_exponentials) return;
    const KeptExponentials& keep = *p.kept_exponentials;
    tiles.term_row = keep.row;
    tiles.terms = keep.terms + v * keep.row + first - keep.first + panel * PANEL;
  }
  void keep_maximum(int64_t panel, int64_t v) const {
    const KeptExponentials& keep = *p.kept_exponentials;
    std::memcpy(keep.maximum + v / BLOCK * keep.row + first - keep.first + panel * PANEL,
                maximum + panel * PANEL, PANEL * sizeof(float));
  }

  // Logits become tanh(l / c), in units of c: the slope of c tanh(l / c) needs it unrounded.
  void cap(int64_t n, int vectors) const {
    if (p.softcap == 0) return;
    const Vec inverse = splat(1.0f / p.softcap);
    for (int64_t i = 0; i < n; ++i) {
      for (int j = 0; j < vectors * LANES; j += LANES) {
        float* const at = tiles.logits + i * PANEL + j;
        store(at, tanh_of(load(at) * inverse));
      }
    }
  }
  SNAKELM_INLINE static Vec maximum_of(Vec a, Vec b) { return SNAKELM_ISA::maximum(a, b); }

  // Takes the targets' logits out of a panel whose rows are words [v, v + n).
  void take_targets(int64_t panel, int64_t v, int64_t n) const {
    const int64_t end = count - panel * PANEL < PANEL ? count - panel * PANEL : PANEL;
    for (int64_t j = 0; j < end; ++j) {
      const int64_t f = panel * PANEL + j, at = p.target[p.kept[first + f]] - v;
      if (at < 0 || at >= n) continue;
      picked[f] = tiles.logits[at * PANEL + j];
      tiles.logits[at * PANEL + j] = MASKED;
    }
  }

  // exp(logit - maximum) of a panel's first n rows into its totals and, for SUMS, its terms.
  template <bool SUMS>
  void exponentials(int64_t panel, int64_t n) const {
    const int64_t whole = up_to_whole(n, K * LANES);
    for (int64_t i = n; i < whole; ++i)
      for (int j = 0; j < PANEL; ++j) tiles.logits[i * PANEL + j] = MASKED;

    bool moved = false;
    alignas(64) float shrink[PANEL];
    for (int j = 0; j < vectors(panel) * LANES; j += LANES)
      moved |= raise_maximum(panel, j, whole, shrink + j);
    if (SUMS && moved) shrink_sums(panel, shrink);

    for (int j = 0; j < vectors(panel) * LANES; j += LANES) {
      if (p.softcap == 0) {
        exponentials_of<SUMS, false>(panel, j, whole);
      } else {
        exponentials_of<SUMS, true>(panel, j, whole);
      }
    }
  }

  // Of LANES columns: whether some maximum was raised, and by how much sums shrink.
  SNAKELM_INLINE bool raise_maximum(int64_t panel, int j, int64_t whole, float* shrink) const {
    const float* const from = tiles.logits + j;
    Vec a = load(from), b = load(from + PANEL);
    Vec c = a, d = b;
    for (int64_t i = 0; i < whole; i += 4) {
      a = maximum_of(a, load(from + i * PANEL)), b = maximum_of(b, load(from + (i + 1) * PANEL));
      c = maximum_of(c, load(from + (i + 2) * PANEL));
      d = maximum_of(d, load(from + (i + 3) * PANEL));
    }
    float* const at = maximum + panel * PANEL + j;
    const Vec old = load(at), seen = maximum_of(maximum_of(a, b), maximum_of(c, d));
    const IntVec higher = seen > old + splat(TOLERATED / unit);
    const Vec now = higher ? seen : old;
    const Vec by = higher ? exp2<5>((old - now) * splat(rate)) : splat(1.0f);
    store(at, now), store(shrink, by);
    float* const sum = total + panel * PANEL + j;
    store(sum, load(sum) * by);
    return any_negative(higher);
  }

  void shrink_sums(int64_t panel, const float* shrink) const {
    float* const sums = tiles.sums + panel * PANEL * tiles.tall;
    for (int j = 0; j < vectors(panel) * LANES; j += LANES) {
      const Vec by = load(shrink + j);
      for (int64_t c = 0; c < tiles.tall; ++c) {
        float* const at = sums + c * PANEL + j;
        store(at, load(at) * by);
      }
    }
  }

  template <bool SUMS, bool CAPPED>
  SNAKELM_INLINE void exponentials_of(int64_t panel, int j, int64_t whole) const {
    const Vec most = load(maximum + panel * PANEL + j);
    Vec even = splat(0.0f), odd = splat(0.0f);
    for (int64_t i = 0; i < whole; i += 2) {
      const Vec a = load(tiles.logits + i * PANEL + j);
      const Vec b = load(tiles.logits + (i + 1) * PANEL + j);
      const Vec ea = exp2<Tiles::DEGREE>((a - most) * splat(rate));
      const Vec eb = exp2<Tiles::DEGREE>((b - most) * splat(rate));
      even += ea, odd += eb;
      if constexpr (SUMS) tiles.store_terms(i, j, ea * slope<CAPPED>(a), eb * slope<CAPPED>(b));
    }
    float* const sum = total + panel * PANEL + j;
    store(sum, load(sum) + (even + odd));
  }

  // Loss, terms and gradient of kept row first + f, whose sums lie in `logits`.
  void finish_row(int64_t f) const {
    const int64_t at = p.kept[first + f];
    const auto [loss, factor, target] = loss_of(p, maximum[f], total[f], picked[f]);
    p.loss[first + f] = loss;
    p.terms[first + f] = {maximum[f], factor, target};
    if (!p.grad_x) return;

    const float* const sums = tiles.logits + f % LANES * tiles.row_length();
    const W* const own = row<W>(p.weight, p.target[at]);
    X* const to = row<X>(p.grad_x, at, p.width);
    const Vec of_others = splat(p.scale * factor), of_target = splat(p.scale * target);
    along(p.width, [&](int64_t c, auto lanes) {
      const Vec w = as<X>(own + c, lanes);
      write(multiply_add(w, of_target, read(sums + c, lanes) * of_others), to + c, lanes);
    });
  }

  // Terms of a panel, d loss_i / d logit, of kept rows [i, i + n).
  void weigh(int64_t panel, int64_t i, int64_t n) const {
    for (int j = 0; j < vectors(panel) * LANES; j += LANES) {
      if (p.softcap == 0) {
        weigh_lanes<false>(i, j, n);
      } else {
        weigh_lanes<true>(i, j, n);
      }
    }
    const int64_t low = first + panel * PANEL, high = low + vectors(panel) * LANES;
    for (int64_t r = 0; r < n; ++r) {
      const int64_t target = p.target[p.kept[i + r]];
      if (target >= low && target < high) {
        tiles.store_term(r, target - low, p.terms[i + r].target);
      }
    }
  }

  template <bool CAPPED>
  SNAKELM_INLINE void weigh_lanes(int64_t i, int j, int64_t n) const {
    const int64_t whole = up_to_whole(n, K * LANES);
    for (int64_t r = 0; r < whole; r += 2) {
      tiles.store_terms(r, j, term<CAPPED>(i, j, r, n), term<CAPPED>(i, j, r + 1, n));
    }
  }
  template <bool CAPPED>
  SNAKELM_INLINE Vec term(int64_t i, int j, int64_t r, int64_t n) const {
    if (r >= n) return splat(0.0f);
    const Vec l = load(tiles.logits + r * PANEL + j);
    const RowTerms& row = p.terms[i + r];
    const Vec e = exp2<Tiles::DEGREE>((l - splat(row.maximum)) * splat(rate));
    return e * slope<CAPPED>(l) * splat(row.factor);
  }

  const LinearCrossEntropyProblem& p;
  const float unit, rate;              // a logit in `logits` is this many; and that times log2(e)
  const int64_t first, count, padded;  // of the fixed rows; up to whole panels
  Workspace memory;
  Tiles tiles;
  float *const maximum, *const total, *const picked;  // [padded]: of each fixed row of x
  const Chosen x, weight;
  const FullTiles shapes;
};

#if defined(__AMX_BF16__)
template <class W>
LinearCrossEntropyPasses tile_passes() {
  using Problem = LinearCrossEntropyProblem;
  return {
      [](const Problem& p, int64_t a, int64_t b) { TilePass<W>(p, a, b).rows(); },
      [](const Problem& p, int64_t a, int64_t b) { TilePass<W>(p, a, b).vocabulary(); },
      nullptr,
  };
}
#endif

template <class X, class W, bool PAIRS>
LinearCrossEntropyPasses passes_of() {
  using Problem = LinearCrossEntropyProblem;
  return {
      [](const Problem& p, int64_t a, int64_t b) { Pass<X, W, PAIRS>(p, a, b).rows(); },
      [](const Problem& p, int64_t a, int64_t b) { Pass<X, W, PAIRS>(p, a, b).vocabulary(); },
      [](const Problem& p, int64_t a, int64_t b) { KeptPass(p).add(a, b); },
  };
}

LinearCrossEntropyPasses linear_cross_entropy_passes(Element type, Element weight_type) {
  const bool wide_weight = weight_type == Element::float32;
#if defined(__AMX_BF16__)
  if (type == Element::float32) return {};
  return wide_weight ? tile_passes<float>() : tile_passes<BFloat16>();
#elif defined(__AVX512BF16__)
  // float32 gains nothing from pairs of bfloat16 and stays with avx512.
  if (type == Element::float32) return {};
  return wide_weight ? passes_of<BFloat16, float, true>() : passes_of<BFloat16, BFloat16, true>();
#else
  if (type == Element::float32) return passes_of<float, float, false>();
  return wide_weight ? passes_of<BFloat16, float, false>() : passes_of<BFloat16, BFloat16, false>();
#endif
}

}  // namespace snakelm::SNAKELM_ISA
