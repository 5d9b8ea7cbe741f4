// Forward: for each row the maximum m of its scores so far, the sum l and the output o of exp(s -
// m); when a chunk brings a larger maximum, l and o shrink by exp(m_old - m_new) first.
//
//   m' = max(m, max_j s_j)    keep = exp(m - m')    l' = l keep + sum_j exp(s_j - m')
//   o' = o keep + sum_j exp(s_j - m') v_j           at the end: out = o / l,  log_sum = m, log l
//
// s and m are subtracted before they are scaled: two large numbers, equal where s is the maximum,
// that rounded apart would differ by more than an exponent holds.
#pragma once

#include "ops/attention/attention_tiles.h"

namespace snakelm::SNAKELM_ISA {

template <class In, bool PAIRS>
struct Forward : Tiles<In, PAIRS> {
  using Base = Tiles<In, PAIRS>;
  using Base::Base, Base::CHUNK, Base::DEGREE, Base::K;
  using Base::dim, Base::factor, Base::item, Base::padded_dim, Base::problem, Base::time,
      Base::words;
  using typename Base::Word;

  // State of 48 rows, and the scores of the six that are being worked on.
  struct Tile {
    alignas(64) float s[ROWS * CHUNK];
    alignas(64) Word p[ROWS * CHUNK];
    alignas(64) float sum[TILE * LANES];  // lane by lane; added up once, at the end
    float maximum[TILE];
  };

  // The packed keys and values of the item, addressed as if they began at position 0.
  struct Keys {
    const Word *k_panels, *v_across;
    const int32_t* bad_before;  // [T + 1] bad keys before t, or null where all are finite
  };

  void run() {
    const int64_t first = this->start(item.first_row) / CHUNK * CHUNK;
    const int64_t last = round_up(item.last_row, CHUNK), count = last - first;
    Workspace space((3 * count + 2 * TILE) * padded_dim * sizeof(float) + 6 * time + 4096);
    Word* const rows = space.take<Word>(count * words);
    Word* const panels = space.take<Word>(count * words);
    Word* const across = PAIRS ? space.take<Word>(count * words) : rows;
    Word* const query = space.take<Word>(TILE * words);
    float* const o = space.take<float>(TILE * padded_dim);
    uint8_t* const bad_key = space.take<uint8_t>(time);
    uint8_t* const bad_query = space.take<uint8_t>(time);
    int32_t* const bad_before = space.take<int32_t>(time + 1);

    // v passes through `rows` after k: without PAIRS it stays there.
    std::memset(bad_key, 0, time);
    bool any_bad = this->pack_rows(problem.k, item.kv_head, first, last, rows, bad_key);
    this->pack_panels(rows, count, panels, words);
    any_bad |= this->pack_rows(problem.v, item.kv_head, first, last, rows, bad_key);
    this->pack_across(rows, count, across);
    if (any_bad) this->accumulate(bad_key, time, bad_before);
    const Keys keys{panels - first * words, across - first / K * padded_dim,
                    any_bad ? bad_before : nullptr};

    for (int64_t head = item.first_head; head < item.last_head; ++head) {
      for (int64_t tile = item.first_row; tile < item.last_row; tile += TILE) {
        std::memset(bad_query + tile, 0, smaller(TILE, time - tile));
        const bool bad = this->pack_rows(problem.q, head, tile, tile + TILE, query, bad_query);
        run_tile(head, tile, query, keys, o, bad ? bad_query : nullptr);
      }
    }
  }

  // Rows [first, first + TILE): query [TILE][words], o [TILE][padded_dim] scratch.
  void run_tile(int64_t head, int64_t first, const Word* query, const Keys& keys, float* o,
                const uint8_t* bad_query) const {
    Tile tile;
    std::memset(o, 0, TILE * padded_dim * sizeof(float));
    std::memset(tile.sum, 0, sizeof tile.sum);
    for (float& m : tile.maximum) m = -INFINITE;

    const int64_t last = smaller(first + TILE, time);
    for (int64_t chunk = this->start(first) / CHUNK * CHUNK; chunk < last; chunk += CHUNK) {
      for (int block = 0; block < TILE; block += ROWS) {
        const Interval seen_keys = this->interval(first + block, chunk);
        if (seen_keys.empty()) continue;
        float keep[ROWS];
        this->score(query + block * words, keys.k_panels, chunk, seen_keys, tile.s);
        soften(tile, block, first + block, chunk, seen_keys, keep);
        this->weigh(tile.p, keys.v_across, chunk, seen_keys, o + block * padded_dim, keep);
      }
    }

    for (int64_t t = first; t < last; ++t) {
      const bool bad =
          (bad_query && bad_query[t]) ||
          (keys.bad_before && keys.bad_before[t + 1] > keys.bad_before[this->start(t)]);
      const float sum = reduce_sum(load(tile.sum + (t - first) * LANES));
      const float scale = bad ? __builtin_nanf("") : 1.0f / sum;
      this->write_row(o + (t - first) * padded_dim, scale, this->query_row(problem.out, t, head));
      float* const log_sum = this->log_sums(head) + t;
      log_sum[0] = tile.maximum[t - first];
      log_sum[time] = bad ? __builtin_nanf("") : __builtin_logf(sum);
    }
  }

  // Softmax of ROWS x interval from tile.s to tile.p; keep[r] is what the row's earlier sum and
  // output shrink by.
  SNAKELM_INLINE void soften(Tile& tile, int block, int64_t row, int64_t chunk,
                             const Interval& keys, float* keep) const {
    const int64_t low = keys.low - chunk, high = round_up(keys.high - chunk, LANES);

    Vec top[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      float* s = tile.s + r * CHUNK;
      top[r] = splat(-INFINITE);
      for (int64_t j = low; j < high; j += LANES) {
        Vec x = load(s + j);
        if (keys.masked) {
          x = this->seen(row + r, chunk + j) ? x : splat(-INFINITE);
          store(s + j, x);
        }
        top[r] = SNAKELM_ISA::maximum(top[r], x);
      }
    }

    for (int r = 0; r < ROWS; ++r) {
      float& m = tile.maximum[block + r];
      // A negative scale would turn the maximum into the minimum; the public function forbids it.
      const float grown = larger_float(m, reduce_maximum(top[r]));
      const float finite =
          grown == -INFINITE ? 0.0f : grown;  // nothing seen yet: keep exp(-inf) = 0
      keep[r] = m == -INFINITE ? 0.0f : exp2<5>(splat((m - finite) * factor))[0];
      m = grown;

      Vec sum = load(tile.sum + (block + r) * LANES) * splat(keep[r]);
      for (int64_t j = low; j < high; j += LANES) {
        const Vec below = load(tile.s + r * CHUNK + j) - splat(finite);
        const Vec p = exp2<DEGREE>(below * splat(factor));
        sum += p;
        if constexpr (PAIRS) {
#if defined(__AVX512BF16__)
          store_bfloat16(tile.p + (r * CHUNK + j) / 2, p);
#endif
        } else {
          store(tile.p + r * CHUNK + j, p);
        }
      }
      store(tile.sum + (block + r) * LANES, sum);
    }
  }

  SNAKELM_INLINE static float larger_float(float a, float b) { return a > b ? a : b; }
};

}  // namespace snakelm::SNAKELM_ISA
