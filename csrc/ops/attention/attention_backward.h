// Backward: p comes back from the saved log-sum, chunk by chunk, and every score is computed once
// more.
//
//   p_ij  = exp(s_ij - m_i - log l_i)             delta_i = <grad_out_i, out_i>
//   ds_ij = p_ij (<grad_out_i, v_j> - delta_i)
//   grad_v_j += p_ij grad_out_i      grad_k_j += scale ds_ij q_i      grad_q_i += scale ds_ij k_j
//
// delta replaces the row sum of p * dp (Dao et al. 2022, section B.2): with it a row needs no
// second pass. One item is the keys [first_row, last_row) of one (batch, key head), and the queries
// that see them: their gradients are summed over all query heads by one thread, in a fixed order.
// grad_q of a query that sees keys of several items is the sum of theirs, added up by
// sum_grad_q at the end, in the order of the items.
#pragma once

#include "ops/attention/attention_tiles.h"

namespace snakelm::SNAKELM_ISA {

template <class In, bool PAIRS>
struct Backward : Tiles<In, PAIRS> {
  using Base = Tiles<In, PAIRS>;
  using Base::Base, Base::CHUNK, Base::DEGREE, Base::K;
  using Base::dim, Base::factor, Base::item, Base::padded_dim, Base::problem, Base::time,
      Base::words;
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

  // Everything that follows is addressed as if it began at position 0; there are only the rows of
  // the item, `first` to `last` of the keys and to `end` of the queries that see them.
  struct Keys {
    Word *k, *v, *k_across;  // k and v in panels
    float *grad_k, *grad_v;  // [keys][padded_dim]
  };

  struct Queries {
    Word *q, *grad_out;                // by rows
    Word *q_across, *grad_out_across;  // the same where words don't pair rows
    Word *q_panels, *grad_out_panels;  // where PANELS
    float* grad_q;                     // [queries][padded_dim]
    float* maximum;                    // [queries] of the scores before they are scaled
    float* minus_log_sum;              // [queries] less the maximum, in powers of two
    float* minus_delta;                // [queries]
  };

  // Rows with NaN or infinity in them.
  struct Bad {
    uint8_t *key, *query;  // [T]
    int32_t* before;       // [T + 1] bad keys before t, from `first` on
  };

  // What a kernel on top of this one has otherwise (attention_amx_backward.h).
  static constexpr bool PANELS = false;
  static constexpr int64_t QUERY_UNIT = TILE;

  const int64_t first = item.first_row, last = item.last_row;
  const int64_t end = end_of_queries();
  const int64_t key_count = round_up(last, CHUNK) - first;

  int64_t end_of_queries() const {
    int64_t t = last;
    while (t < time && this->start(t) < last) ++t;
    return t;
  }

  void run() { run_as(*this); }

  template <class Kernel>
  void run_as(const Kernel& kernel) const {
    const int64_t query_count = round_up(end - first, Kernel::QUERY_UNIT);
    const int64_t most = larger(query_count, key_count);
    Workspace space((8 * padded_dim + 4) * most * sizeof(float) + 6 * time + 8192);
    const auto take = [&] { return space.take<Word>(most * words) - first * words; };
    const auto take_floats = [&](int64_t row) {
      return space.take<float>(most * row) - first * row;
    };
    const Keys keys{take(), take(), take(), take_floats(padded_dim), take_floats(padded_dim)};
    Queries queries;
    queries.q = take();
    queries.grad_out = take();
    queries.q_across = PAIRS ? take() : queries.q;
    queries.grad_out_across = PAIRS ? take() : queries.grad_out;
    queries.q_panels = Kernel::PANELS ? take() : nullptr;
    queries.grad_out_panels = Kernel::PANELS ? take() : nullptr;
    queries.grad_q = take_floats(padded_dim);
    queries.maximum = take_floats(1);
    queries.minus_log_sum = take_floats(1);
    queries.minus_delta = take_floats(1);
    const Bad bad{space.take<uint8_t>(time), space.take<uint8_t>(time),
                  space.take<int32_t>(time + 1)};

    std::memset(bad.key, 0, time);
    for (float* grad : {keys.grad_k, keys.grad_v}) {
      std::memset(grad + first * padded_dim, 0, key_count * padded_dim * sizeof(float));
    }
    const bool bad_keys = kernel.pack_keys(keys, queries.q_across + first * words, bad.key);

    for (int64_t head = item.first_head; head < item.last_head; ++head) {
      std::memset(bad.query, 0, time);
      const bool bad_head = pack_queries(head, queries, query_count, bad.query);
      std::memset(queries.grad_q + first * padded_dim, 0, query_count * padded_dim * sizeof(float));
      if (bad_keys || bad_head) accumulate_bad(bad);
      kernel.run_head(keys, queries);
      kernel.write_grad_q(head, queries, bad_keys || bad_head ? &bad : nullptr);
      if (bad_head) poison_keys(bad, keys);
    }
    write_keys(keys, bad_keys ? bad.key : nullptr);
  }

  // ---- packing ------------------------------------------------------------------------------

  // k and v to panels, k across; `rows` is a buffer that is not yet in use.
  bool pack_keys(const Keys& keys, Word* rows, uint8_t* bad) const {
    const int64_t from = first * words, to = first + key_count;
    bool any_bad = this->pack_rows(problem.v, item.kv_head, first, to, rows, bad);
    this->pack_panels(rows, key_count, keys.v + from, words);

    any_bad |= this->pack_rows(problem.k, item.kv_head, first, to, rows, bad);
    this->pack_panels(rows, key_count, keys.k + from, words);
    this->pack_across(rows, key_count, keys.k_across + from);
    return any_bad;
  }

  // q and grad_out of one head, its log-sums and deltas.
  bool pack_queries(int64_t head, const Queries& queries, int64_t count, uint8_t* bad) const {
    const int64_t from = first * words, to = first + count;
    bool any_bad = this->pack_rows(problem.q, head, first, to, queries.q + from, bad);
    any_bad |= this->pack_rows(problem.grad_out, head, first, to, queries.grad_out + from, bad);
    if (PAIRS) {
      this->pack_across(queries.q + from, count, queries.q_across + from);
      this->pack_across(queries.grad_out + from, count, queries.grad_out_across + from);
    }
    if (queries.q_panels) {
      this->pack_panels(queries.q + from, count, queries.q_panels + from, words);
      this->pack_panels(queries.grad_out + from, count, queries.grad_out_panels + from, words);
    }

    const float *const maximum = this->log_sums(head), *const log_sum = maximum + time;
    for (int64_t t = first; t < to; ++t) {
      queries.maximum[t] = 0;
      queries.minus_log_sum[t] = -INFINITE;  // p = 0: beyond the end, or a row that is NaN anyway
      queries.minus_delta[t] = 0;
      if (t >= end || bad[t]) continue;

      const float delta =
          inner(this->at(problem.grad_out, t, head), this->query_row(problem.out, t, head));
      if (!finite(delta) || !finite(maximum[t]) || !finite(log_sum[t])) {
        bad[t] = 1, any_bad = true;
        continue;
      }
      queries.maximum[t] = maximum[t];
      queries.minus_log_sum[t] = -log_sum[t] * LOG2_E;
      queries.minus_delta[t] = -delta;
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
    for (int64_t chunk = first; chunk < last; chunk += CHUNK) {
      for (int64_t row = first + (chunk - first) / TILE * TILE; row < end; row += TILE) {
        if (this->start(row) >= chunk + CHUNK) break;  // no later row sees this chunk either
        run_tile(tile, keys, queries, row, chunk);
      }
    }
  }

  void run_tile(Tile& tile, const Keys& keys, const Queries& queries, int64_t tile_row,
                int64_t chunk) const {
    Interval seen_keys[TILE / ROWS];
    bool any = false;
    for (int block = 0; block < TILE; block += ROWS) {
      const Interval& here = seen_keys[block / ROWS] = this->interval(tile_row + block, chunk);
      if (here.empty()) continue;
      any = true;
      const int64_t row = tile_row + block;
      this->score(queries.q + row * words, keys.k, chunk, here, tile.s);
      this->score(queries.grad_out + row * words, keys.v, chunk, here, tile.dp);
      differentiate_block(tile, queries, block, row, chunk, here);
      const Word* const ds = PAIRS ? tile.ds_rows + block * (CHUNK / K) : tile.ds + block * CHUNK;
      this->weigh(ds, keys.k_across, chunk, here, queries.grad_q + row * padded_dim, ONES);
    }
    if (!any) return;

    scatter(tile, seen_keys, queries.q_across + tile_row / K * padded_dim,
            queries.grad_out_across + tile_row / K * padded_dim, chunk, keys);
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
    p = exp2<DEGREE>(multiply_add(below, splat(factor), splat(queries.minus_log_sum[t])));
    ds = p * (load(tile.dp + at) + splat(queries.minus_delta[t]));
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
    write_queries(head, first, end, queries.grad_q + first * padded_dim, bad);
  }

  // Rows [begin, last_row) of grad_q, or of this item's share of it.
  void write_queries(int64_t head, int64_t begin, int64_t last_row, const float* rows,
                     const Bad* bad) const {
    for (int64_t t = begin; t < last_row; ++t, rows += padded_dim) {
      const bool poisoned = bad && (bad->query[t] || sees_bad_key(*bad, t));
      const float mark = poisoned ? __builtin_nanf("") : 1.0f;
      if (!item.grad_q) {
        this->write_row(rows, problem.scale * mark, this->query_row(problem.grad_q, t, head));
        continue;
      }
      float* const to = item.grad_q + ((head - item.first_head) * (time - first) + t - first) * dim;
      for (int64_t d = 0; d < dim; ++d) to[d] = rows[d] * mark;
    }
  }

  void accumulate_bad(const Bad& bad) const {
    bad.before[first] = 0;
    for (int64_t t = first; t < last; ++t) bad.before[t + 1] = bad.before[t] + bad.key[t];
  }
  bool sees_bad_key(const Bad& bad, int64_t t) const {
    return bad.before[smaller(t + 1, last)] > bad.before[larger(first, this->start(t))];
  }

  // Keys that a bad query sees: [start(t), t] for each such t. Only their first element is marked.
  void poison_keys(const Bad& bad, const Keys& keys) const {
    int64_t next = last;  // keys from `next` on are done
    for (int64_t t = end - 1; t >= first; --t) {
      if (!bad.query[t]) continue;
      const int64_t from = larger(first, this->start(t));
      for (int64_t key = smaller(t + 1, next) - 1; key >= from; --key) {
        keys.grad_k[key * padded_dim] = keys.grad_v[key * padded_dim] = __builtin_nanf("");
        next = key;
      }
    }
  }

  void write_keys(const Keys& keys, const uint8_t* bad) const {
    for (int64_t t = first; t < last; ++t) {
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

// grad_q of a head's rows [first_row, last_row), from the parts' shares in their order.
template <class In>
struct GradQSum : Tiles<In, false> {
  using Base = Tiles<In, false>;
  using Base::Base, Base::dim, Base::item, Base::problem, Base::time;

  void run(const AttentionParts& parts) const {
    const int64_t pair = item.batch * problem.kv_heads + item.kv_head;
    const int64_t in_group = item.first_head % (problem.heads / problem.kv_heads);
    Workspace space(dim * sizeof(float) + 64);
    float* const sum = space.take<float>(dim);
    for (int64_t t = item.first_row; t < item.last_row; ++t) {
      const int64_t begin = this->start(t) / parts.keys, end = t / parts.keys;
      for (int64_t part = begin; part <= end; ++part) {
        const int64_t first = part * parts.keys, row = in_group * (time - first) + t - first;
        const float* const share = parts.share(problem, pair, part) + row * dim;
        for (int64_t d = 0; d < dim; ++d) sum[d] = part == begin ? share[d] : sum[d] + share[d];
      }
      this->write_row(sum, problem.scale, this->query_row(problem.grad_q, t, item.first_head));
    }
  }
};

}  // namespace snakelm::SNAKELM_ISA
