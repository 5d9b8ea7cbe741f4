// Backward: p comes back from the saved log-sum, chunk by chunk, and every score is computed once
// more.
//
//   p_ij  = exp(s_ij - m_i - log l_i)             delta_i = <grad_out_i, out_i>
//   ds_ij = p_ij (<grad_out_i, v_j> - delta_i)
//   grad_v_j += p_ij grad_out_i      grad_k_j += scale ds_ij q_i      grad_q_i += scale ds_ij k_j
//
// delta replaces the row sum of p * dp (Dao et al. 2022, section B.2): with it a row needs no
// second pass. One item is one (batch, key head): the gradients of its keys are summed over all
// query heads by one thread, in a fixed order.
#pragma once

#include "ops/attention/attention_tiles.h"

namespace snakelm::SNAKELM_ISA {

template <class In, bool PAIRS>
struct Backward : Tiles<In, PAIRS> {
  using Base = Tiles<In, PAIRS>;
  using Base::Base, Base::CHUNK, Base::DEGREE, Base::K;
  using Base::dim, Base::factor, Base::item, Base::key_rows, Base::padded_dim, Base::problem;
  using Base::query_rows, Base::time, Base::words;
  using typename Base::Word;

  // 48 queries against a chunk of keys. p and ds lie for sums over queries; ds once more for the
  // sum over keys, where a word pairs two keys instead of two queries.
  struct Tile {
    alignas(64) float s[ROWS * CHUNK];
    alignas(64) float dp[ROWS * CHUNK];
    alignas(64) Word p[TILE / K * CHUNK];                    // [TILE / K][CHUNK]
    alignas(64) Word ds[TILE / K * CHUNK];                   // [TILE / K][CHUNK]
    alignas(64) Word ds_rows[PAIRS ? TILE * CHUNK / K : 1];  // [TILE][CHUNK / K]
  };

  struct Keys {
    Word *k_panels, *v_panels, *k_across;
    float *grad_k, *grad_v;  // [key_rows][padded_dim]
  };

  struct Queries {
    Word *q, *grad_out;                // by rows
    Word *q_across, *grad_out_across;  // the same where words don't pair rows
    float* grad_q;                     // [query_rows][padded_dim]
    float* maximum;                    // [query_rows] of the scores before they are scaled
    float* log_sum;                    // [query_rows] less the maximum, in powers of two
    float* delta;                      // [query_rows]
  };

  // Rows with NaN or infinity in them.
  struct Bad {
    uint8_t *key, *query;  // [T]
    int32_t* before;       // [T + 1] bad keys before t
  };

  void run() {
    const int64_t most = larger(query_rows, key_rows);
    Workspace space((10 * padded_dim + 5) * most * sizeof(float) + 8192);
    const auto take = [&] { return space.take<Word>(most * words); };
    Keys keys;
    Queries queries;
    keys.k_panels = take();
    keys.v_panels = take();
    keys.k_across = take();
    queries.q = take();
    queries.grad_out = take();
    queries.q_across = PAIRS ? take() : queries.q;
    queries.grad_out_across = PAIRS ? take() : queries.grad_out;
    queries.grad_q = space.take<float>(query_rows * padded_dim);
    queries.maximum = space.take<float>(query_rows);
    queries.log_sum = space.take<float>(query_rows);
    queries.delta = space.take<float>(query_rows);
    keys.grad_k = space.take<float>(key_rows * padded_dim);
    keys.grad_v = space.take<float>(key_rows * padded_dim);
    const Bad bad{space.take<uint8_t>(time), space.take<uint8_t>(time),
                  space.take<int32_t>(time + 1)};

    std::memset(bad.key, 0, time);
    std::memset(keys.grad_k, 0, key_rows * padded_dim * sizeof(float));
    std::memset(keys.grad_v, 0, key_rows * padded_dim * sizeof(float));
    const bool bad_keys = pack_keys(keys, queries.q, bad.key);

    for (int64_t head = item.first_head; head < item.last_head; ++head) {
      std::memset(bad.query, 0, time);
      const bool bad_head = pack_queries(head, queries, bad.query);
      run_head(keys, queries);
      write_grad_q(head, queries, bad_keys || bad_head ? &bad : nullptr);
      if (bad_head) poison_keys(bad, keys);
    }
    write_keys(keys, bad_keys ? bad.key : nullptr);
  }

  // ---- packing ------------------------------------------------------------------------------

  // k and v to panels, k across; `rows` is a buffer that is not yet in use.
  bool pack_keys(const Keys& keys, Word* rows, uint8_t* bad) const {
    bool any_bad = this->pack_rows(problem.v, item.kv_head, 0, key_rows, rows, bad);
    this->pack_panels(rows, key_rows, keys.v_panels);

    any_bad |= this->pack_rows(problem.k, item.kv_head, 0, key_rows, rows, bad);
    this->pack_panels(rows, key_rows, keys.k_panels);
    this->pack_across(rows, key_rows, keys.k_across);
    return any_bad;
  }

  // q and grad_out of one head, its log-sums and deltas.
  bool pack_queries(int64_t head, const Queries& queries, uint8_t* bad) const {
    bool any_bad = this->pack_rows(problem.q, head, 0, query_rows, queries.q, bad);
    any_bad |= this->pack_rows(problem.grad_out, head, 0, query_rows, queries.grad_out, bad);
    if (PAIRS) {
      this->pack_across(queries.q, query_rows, queries.q_across);
      this->pack_across(queries.grad_out, query_rows, queries.grad_out_across);
    }

    const float *const maximum = this->log_sums(head), *const log_sum = maximum + time;
    for (int64_t t = 0; t < query_rows; ++t) {
      queries.maximum[t] = 0;
      queries.log_sum[t] = INFINITE;  // p = 0: beyond T, or a row that is NaN anyway
      queries.delta[t] = 0;
      if (t >= time || bad[t]) continue;

      const float delta =
          inner(this->at(problem.grad_out, t, head), this->query_row(problem.out, t, head));
      if (!finite(delta) || !finite(maximum[t]) || !finite(log_sum[t])) {
        bad[t] = 1, any_bad = true;
        continue;
      }
      queries.maximum[t] = maximum[t];
      queries.log_sum[t] = log_sum[t] * LOG2_E;
      queries.delta[t] = delta;
    }
    return any_bad;
  }

  SNAKELM_INLINE static bool finite(float x) { return x - x == 0; }

  // <a, b> of one row of D.
  SNAKELM_INLINE float inner(const In* a, const In* b) const {
    Vec sum{};
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES) {
      sum = multiply_add(load_wide(a + d), load_wide(b + d), sum);
    }
    const int rest = static_cast<int>(dim - d);
    if (rest) sum = multiply_add(load_wide_part(a + d, rest), load_wide_part(b + d, rest), sum);
    return reduce_sum(sum);
  }

  // ---- sums ---------------------------------------------------------------------------------

  void run_head(const Keys& keys, const Queries& queries) const {
    Tile tile;
    std::memset(queries.grad_q, 0, query_rows * padded_dim * sizeof(float));
    for (int64_t chunk = 0; chunk < time; chunk += CHUNK) {
      for (int64_t first = chunk / TILE * TILE; first < time; first += TILE) {
        if (this->start(first) >= chunk + CHUNK) break;  // no later row sees this chunk either
        run_tile(tile, keys, queries, first, chunk);
      }
    }
  }

  void run_tile(Tile& tile, const Keys& keys, const Queries& queries, int64_t first,
                int64_t chunk) const {
    Interval seen_keys[TILE / ROWS];
    bool any = false;
    for (int block = 0; block < TILE; block += ROWS) {
      const Interval& here = seen_keys[block / ROWS] = this->interval(first + block, chunk);
      if (here.empty()) continue;
      any = true;
      const int64_t row = first + block;
      this->score(queries.q + row * words, keys.k_panels, chunk, here, tile.s);
      this->score(queries.grad_out + row * words, keys.v_panels, chunk, here, tile.dp);
      differentiate_block(tile, queries, block, row, chunk, here);
      const Word* const ds = PAIRS ? tile.ds_rows + block * (CHUNK / K) : tile.ds + block * CHUNK;
      this->weigh(ds, keys.k_across, chunk, here, queries.grad_q + row * padded_dim, ONES);
    }
    if (!any) return;

    scatter(tile, seen_keys, queries.q_across + first / K * padded_dim,
            queries.grad_out_across + first / K * padded_dim, chunk, keys);
  }

  // Fill rows [block, block + ROWS) of the tile's p and ds over the whole chunk: zeros outside the
  // interval.
  SNAKELM_INLINE void differentiate_block(Tile& tile, const Queries& queries, int block,
                                          int64_t row, int64_t chunk, const Interval& keys) const {
    const int64_t low = keys.low - chunk, high = round_up(keys.high - chunk, LANES);
    for (int r = 0; r < ROWS; r += K) {
      Word* const p_row = tile.p + (block + r) / K * CHUNK;
      Word* const ds_row = tile.ds + (block + r) / K * CHUNK;
      std::memset(p_row, 0, low * sizeof(Word));
      std::memset(ds_row, 0, low * sizeof(Word));
      std::memset(p_row + high, 0, (CHUNK - high) * sizeof(Word));
      std::memset(ds_row + high, 0, (CHUNK - high) * sizeof(Word));

      for (int64_t j = low; j < high; j += LANES) {
        Vec p[K], ds[K];
        for (int i = 0; i < K; ++i) {
          differentiate(tile, queries, row + r + i, (r + i) * CHUNK + j, chunk + j, keys.masked,
                        p[i], ds[i]);
        }
        if constexpr (PAIRS) {
#if defined(__AVX512BF16__)
          const WordVec p_pair = pair_of(p[0], p[1]), ds_pair = pair_of(ds[0], ds[1]);
          std::memcpy(p_row + j, &p_pair, sizeof p_pair);
          std::memcpy(ds_row + j, &ds_pair, sizeof ds_pair);
          for (int i = 0; i < K; ++i) {
            store_bfloat16(tile.ds_rows + ((block + r + i) * CHUNK + j) / 2, ds[i]);
          }
#endif
        } else {
          store(p_row + j, p[0]);
          store(ds_row + j, ds[0]);
        }
      }
    }
  }

  // p = 2^((s - maximum) factor - log_sum), ds = p (dp - delta), of one row's vector.
  SNAKELM_INLINE void differentiate(const Tile& tile, const Queries& queries, int64_t t, int64_t at,
                                    int64_t key, bool masked, Vec& p, Vec& ds) const {
    const Vec below = load(tile.s + at) - splat(queries.maximum[t]);
    p = exp2<DEGREE>(multiply_add(below, splat(factor), splat(-queries.log_sum[t])));
    ds = p * (load(tile.dp + at) - splat(queries.delta[t]));
    if (masked) {  // both: what isn't seen may have overflowed
      const IntVec seen = this->seen(t, key);
      p = seen ? p : Vec{}, ds = seen ? ds : Vec{};
    }
  }

  // Both key gradients of one tile and chunk. seen_keys: the interval of each block of rows, to
  // skip what is zero.
  void scatter(const Tile& tile, const Interval* seen_keys, const Word* q_across,
               const Word* grad_out_across, int64_t chunk, const Keys& keys) const {
    for (int64_t key = 0; key < CHUNK; key += ROWS) {
      int begin = 0, end = TILE;
      while (begin < end && seen_keys[begin / ROWS].high <= chunk + key) begin += ROWS;
      while (begin < end && skips(seen_keys[end / ROWS - 1], chunk + key)) end -= ROWS;
      if (begin == end) continue;

      float* const grad_k = keys.grad_k + (chunk + key) * padded_dim;
      float* const grad_v = keys.grad_v + (chunk + key) * padded_dim;
      if (key + ROWS <= CHUNK) {
        scatter_keys<ROWS>(tile.p, grad_out_across, key, begin, end, grad_v);
        scatter_keys<ROWS>(tile.ds, q_across, key, begin, end, grad_k);
      } else {
        scatter_keys<CHUNK % ROWS>(tile.p, grad_out_across, key, begin, end, grad_v);
        scatter_keys<CHUNK % ROWS>(tile.ds, q_across, key, begin, end, grad_k);
      }
    }
  }

  SNAKELM_INLINE static bool skips(const Interval& seen_keys, int64_t key) {
    return seen_keys.empty() || seen_keys.low >= key + ROWS;
  }

  // grad[keys][padded_dim] += weights^T rows: N keys from `key`, over queries [begin, end) of the
  // tile.
  template <int N>
  SNAKELM_INLINE void scatter_keys(const Word* weights, const Word* across, int64_t key, int begin,
                                   int end, float* grad) const {
    for (int64_t d = 0; d < padded_dim; d += PANEL) {
      const int vectors = static_cast<int>(smaller(PANEL, padded_dim - d) / LANES);
      multiply<PAIRS, N>(vectors, weights + begin / K * CHUNK + key, 1, CHUNK,
                         across + begin / K * padded_dim + d, padded_dim, (end - begin) / K,
                         grad + d, padded_dim, ONES);
    }
  }

  // ---- results, and NaN where a bad row was seen --------------------------------------------

  void write_grad_q(int64_t head, const Queries& queries, const Bad* bad) const {
    if (bad) this->accumulate(bad->key, time, bad->before);
    for (int64_t t = 0; t < time; ++t) {
      const bool poisoned =
          bad && (bad->query[t] || bad->before[t + 1] > bad->before[this->start(t)]);
      const float scale = poisoned ? __builtin_nanf("") : problem.scale;
      this->write_row(queries.grad_q + t * padded_dim, scale,
                      this->query_row(problem.grad_q, t, head));
    }
  }

  // Keys that a bad query sees: [start(t), t] for each such t. Only their first element is marked.
  void poison_keys(const Bad& bad, const Keys& keys) const {
    int64_t next = time;  // keys from `next` on are done
    for (int64_t t = time - 1; t >= 0; --t) {
      if (!bad.query[t]) continue;
      for (int64_t key = smaller(t + 1, next) - 1; key >= this->start(t); --key) {
        keys.grad_k[key * padded_dim] = keys.grad_v[key * padded_dim] = __builtin_nanf("");
        next = key;
      }
    }
  }

  void write_keys(const Keys& keys, const uint8_t* bad) const {
    for (int64_t t = 0; t < time; ++t) {
      const int64_t from = t * padded_dim;
      const int64_t to = ((item.batch * time + t) * problem.kv_heads + item.kv_head) * dim;
      const float mark = keys.grad_k[from];  // NaN: see poison_keys
      const float keep = (bad && bad[t]) || !(mark == mark) ? __builtin_nanf("") : 1.0f;
      this->write_row(keys.grad_k + from, problem.scale * keep,
                      static_cast<In*>(problem.grad_k) + to);
      this->write_row(keys.grad_v + from, keep, static_cast<In*>(problem.grad_v) + to);
    }
  }
};

}  // namespace snakelm::SNAKELM_ISA
