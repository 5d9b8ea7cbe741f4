// Backward on AMX tiles. The mathematics and the bookkeeping are those of attention_backward.h;
// scores lie transposed, lanes over queries:
//
//   S^T[keys, queries] = K Q^T                 dP^T[keys, queries] = V dO^T - delta
//   dV[keys, D] += P^T dO     dK[keys, D] += dS^T Q     dQ^T[D, queries] += K^T dS^T
//
// P^T and dS^T are then the A of the sums over queries as they come, two vectors of queries to a
// row of a tile; dS^T once more in pairs of keys is the B of dQ. delta enters as what the sums of
// dP begin with.
#pragma once

#include "ops/attention/attention_amx.h"
#include "ops/attention/attention_backward.h"

namespace snakelm::SNAKELM_ISA {

struct AmxBackward : Backward<BFloat16, true> {
  using Base = Backward<BFloat16, true>;
  static constexpr bool PANELS = true;
  static constexpr int64_t KEYS = CHUNK, QUERIES = PANEL, QUERY_UNIT = QUERIES;  // of a block
  static_assert(CHUNK == ATTENTION_KEYS);

  AmxBackward(const AttentionProblem& p, const AttentionItem& i) : Base(p, i, STRIP) {}

  void run() { run_as(*this); }

  // Here k and v lie by rows, and k_across is k^T: [D][64 pairs of keys] for each chunk.
  bool pack_keys(const Keys& keys, Word* across, uint8_t* bad) const {
    const int64_t from = first * words, to = first + key_count;
    bool any_bad = pack_rows(problem.v, item.kv_head, first, to, keys.v + from, bad);
    any_bad |= pack_rows(problem.k, item.kv_head, first, to, keys.k + from, bad);
    pack_across(keys.k + from, key_count, across);
    pack_panels(across, key_count / 2, keys.k_across + from, padded_dim);
    return any_bad;
  }

  // ---- blocks of queries and keys -----------------------------------------------------------

  // Of a block, what a strip of queries sees: keys [low, high) of the chunk, in strips.
  struct Range {
    int64_t low, high;
    SNAKELM_INLINE bool holds(int64_t key) const { return low <= key && key < high; }
  };

  struct Strip {
    int64_t key, query;  // within the block
    bool masked;
  };

  // p and ds of a block, for sums over queries and once more in pairs of keys.
  struct Weights {
    alignas(64) Word p[KEYS * QUERIES / 2], ds[KEYS * QUERIES / 2];  // [KEYS][QUERIES / 2]
    alignas(64) Word ds_pairs[KEYS / 2 * QUERIES];                   // [KEYS / 2][QUERIES]
  };

  struct Block {
    int64_t chunk, row;  // first key, first query
    Range seen[QUERIES / STRIP];
    Strip strips[KEYS / STRIP * (QUERIES / STRIP)];
    int count;
    Weights* weights;
  };

  // One strip's s and dp: [keys][queries].
  struct Scores {
    alignas(64) float s[STRIP * STRIP], dp[STRIP * STRIP];
  };

  // The next block with something to see in it, from (chunk, row) on; false at the end.
  bool find_block(Block& block, int64_t chunk, int64_t row) const {
    for (; chunk < last; chunk += KEYS, row = chunk) {
      for (; row < end && start(row) < chunk + KEYS; row += QUERIES) {
        block.chunk = chunk, block.row = row, block.count = 0;
        for (int64_t query = 0; query < QUERIES; query += STRIP) add_strips(block, query);
        if (block.count) return true;
      }
    }
    return false;
  }

  void add_strips(Block& block, int64_t query) const {
    Range& range = block.seen[query / STRIP] = {0, 0};
    const int64_t row = block.row + query;
    if (row >= end) return;
    const int64_t low = larger(block.chunk, start(row) / STRIP * STRIP);
    const int64_t high = smaller(block.chunk + KEYS, row + STRIP);
    if (low >= high) return;

    range = {low - block.chunk, high - block.chunk};
    const int64_t start_of_last = start(smaller(row + STRIP, time) - 1);
    for (int64_t key = low; key < high; key += STRIP) {
      const bool masked = key + STRIP > row + 1 || key < start_of_last;
      block.strips[block.count++] = {key - block.chunk, query, masked};
    }
  }

  // ---- sums ---------------------------------------------------------------------------------

  void run_head(const Keys& keys, const Queries& queries) const {
    const FullTiles shapes;
    if (padded_dim <= 32) return stream<2>(keys, queries);
    if (padded_dim <= 64) return stream<3>(keys, queries);
    stream<5>(keys, queries);
  }

  // While one strip is differentiated, the next one's scores are computed, and the gradients that
  // the last block sums to. TURNS: the products are so many quarters for four vectors.
  template <int TURNS>
  void stream(const Keys& keys, const Queries& queries) const {
    Weights weights[2];
    Scores scores[2];
    ProductQueue queue;
    Block blocks[3];
    int now = 0, strips = 0;
    bool more = find_block(blocks[0], first, first);
    if (more) multiply_strip(blocks[0], 0, keys, queries, scores[0], queue);
    queue.finish();

    for (; more; ++now) {
      Block& block = blocks[now % 3];
      Block& next = blocks[(now + 1) % 3];
      block.weights = &weights[now & 1];
      more = find_block(next, block.chunk, block.row + QUERIES);
      if (now) sum_block(blocks[(now + 2) % 3], keys, queries, queue);
      for (int i = 0; i < block.count; ++i, ++strips) {
        Scores& ahead = scores[(strips + 1) & 1];
        if (i + 1 < block.count)
          multiply_strip(block, i + 1, keys, queries, ahead, queue);
        else if (more)
          multiply_strip(next, 0, keys, queries, ahead, queue);
        differentiate_strip<TURNS>(block, block.strips[i], queries, scores[strips & 1], queue);
        queue.finish_urgent();
      }
      queue.finish();
    }
    if (now) sum_block(blocks[(now + 2) % 3], keys, queries, queue);
    queue.finish();
  }

  SNAKELM_INLINE void multiply_strip(const Block& block, int i, const Keys& keys,
                                     const Queries& queries, Scores& to,
                                     ProductQueue& queue) const {
    const Strip& strip = block.strips[i];
    const int64_t row = words * sizeof(Word), key = (block.chunk + strip.key) * words;
    const int64_t query = block.row * words + strip.query, steps = padded_dim / STRIP;
    const float* const minus_delta = queries.minus_delta + block.row + strip.query;
    queue.urgent({{keys.k + key, row, 16 * row, 64},
                  {queries.q_panels + query, PANEL * 4, 64, 16 * PANEL * 4},
                  steps,
                  nullptr,
                  0,
                  to.s,
                  STRIP});
    queue.urgent({{keys.v + key, row, 16 * row, 64},
                  {queries.grad_out_panels + query, PANEL * 4, 64, 16 * PANEL * 4},
                  steps,
                  minus_delta,
                  0,
                  to.dp,
                  STRIP});
  }

  void sum_block(const Block& block, const Keys& keys, const Queries& queries,
                 ProductQueue& queue) const {
    const Weights& weights = *block.weights;
    for (int64_t key = 0; key < KEYS; key += STRIP) {
      int64_t begin = 0, stop = QUERIES;  // queries that see the strip
      while (begin < stop && !block.seen[begin / STRIP].holds(key)) begin += STRIP;
      while (begin < stop && !block.seen[stop / STRIP - 1].holds(key)) stop -= STRIP;
      if (begin == stop) continue;
      const int64_t from = key * (QUERIES / 2) + begin / 2, steps = (stop - begin) / STRIP;
      const int64_t pairs = (block.row + begin) / 2 * padded_dim, row = padded_dim * 4;
      const int64_t to = (block.chunk + key) * padded_dim;
      for (int64_t d = 0; d < padded_dim; d += STRIP) {
        queue.later({{weights.p + from, QUERIES * 2, 16 * QUERIES * 2, 64},
                     {queries.grad_out_across + pairs + d, row, 64, 16 * row},
                     steps,
                     keys.grad_v + to + d,
                     padded_dim,
                     keys.grad_v + to + d,
                     padded_dim});
        queue.later({{weights.ds + from, QUERIES * 2, 16 * QUERIES * 2, 64},
                     {queries.q_across + pairs + d, row, 64, 16 * row},
                     steps,
                     keys.grad_k + to + d,
                     padded_dim,
                     keys.grad_k + to + d,
                     padded_dim});
      }
    }
    for (int64_t query = 0; query < QUERIES; query += STRIP) {
      const Range& keys_seen = block.seen[query / STRIP];
      const int64_t low = keys_seen.low, steps = (keys_seen.high - low) / STRIP;
      if (!steps) continue;
      for (int64_t d = 0; d < padded_dim; d += STRIP) {
        float* const to = queries.grad_q + block.row * padded_dim + d * QUERIES + query;
        queue.later(
            {{keys.k_across + block.chunk * words + d * PANEL + low / 2, PANEL * 4, 16 * PANEL * 4,
              64},
             {weights.ds_pairs + low / 2 * QUERIES + query, QUERIES * 4, 64, 16 * QUERIES * 4},
             steps,
             to,
             QUERIES,
             to,
             QUERIES});
      }
    }
  }

  // ---- p and ds -----------------------------------------------------------------------------

  // What a strip's 32 queries need, two vectors of each.
  struct Lanes {
    Vec maximum[2], minus_log_sum[2];
    IntVec begin[2], end[2];  // masked: first and last key seen, within the strip
  };

  SNAKELM_INLINE Lanes lanes_of(const Block& block, const Strip& strip,
                                const Queries& queries) const {
    Lanes lanes;
    for (int half = 0; half < 2; ++half) {
      const int64_t t = block.row + strip.query + half * LANES;
      lanes.maximum[half] = load(queries.maximum + t);
      lanes.minus_log_sum[half] = load(queries.minus_log_sum + t);
      lanes.begin[half] = lanes.end[half] = IntVec{};
      for (int i = 0; strip.masked && i < LANES; ++i) {
        const int64_t row = smaller(t + i, time - 1), key = block.chunk + strip.key;
        lanes.begin[half][i] = static_cast<int32_t>(start(row) - key);
        lanes.end[half][i] = static_cast<int32_t>(row - key);
      }
    }
    return lanes;
  }

  template <int TURNS>
  SNAKELM_INLINE void differentiate_strip(const Block& block, const Strip& strip,
                                          const Queries& queries, const Scores& scores,
                                          ProductQueue& queue) const {
    const Lanes lanes = lanes_of(block, strip, queries);
    for (int64_t j = 0; j < STRIP; j += 8) {
      differentiate_pair<0, TURNS>(block, strip, scores, lanes, j, queue);
      differentiate_pair<1, TURNS>(block, strip, scores, lanes, j + 2, queue);
      differentiate_pair<2, TURNS>(block, strip, scores, lanes, j + 4, queue);
      differentiate_pair<3, TURNS>(block, strip, scores, lanes, j + 6, queue);
    }
  }

  // Keys j and j + 1.
  template <int NUMBER, int TURNS>
  SNAKELM_INLINE void differentiate_pair(const Block& block, const Strip& strip,
                                         const Scores& scores, const Lanes& lanes, int64_t j,
                                         ProductQueue& queue) const {
    constexpr int QUARTER = NUMBER * TURNS, EARLY = TURNS / 3, MIDDLE = (TURNS + 1) / 3;
    Weights& to = *block.weights;
    const int64_t row = (strip.key + j) * (QUERIES / 2) + strip.query / 2;
    Vec p[2], ds[2][2];
    differentiate_key(scores, lanes, strip.masked, j, p, ds[0]);
    store_row(to.p + row, p[0], p[1]);
    store_row(to.ds + row, ds[0][0], ds[0][1]);
    turns<QUARTER, EARLY>(queue);

    differentiate_key(scores, lanes, strip.masked, j + 1, p, ds[1]);
    store_row(to.p + row + QUERIES / 2, p[0], p[1]);
    store_row(to.ds + row + QUERIES / 2, ds[1][0], ds[1][1]);
    turns<QUARTER + EARLY, MIDDLE>(queue);

    for (int half = 0; half < 2; ++half) {
      const WordVec pair = pair_of(ds[0][half], ds[1][half]);
      std::memcpy(to.ds_pairs + (strip.key + j) / 2 * QUERIES + strip.query + half * LANES, &pair,
                  sizeof pair);
    }
    turns<QUARTER + EARLY + MIDDLE, TURNS - EARLY - MIDDLE>(queue);
  }

  template <int QUARTER, int COUNT>
  SNAKELM_INLINE static void turns(ProductQueue& queue) {
    if constexpr (COUNT > 0) {
      queue.turn<QUARTER % 4>();
      turns<QUARTER + 1, COUNT - 1>(queue);
    }
  }

  // p = 2^((s - maximum) factor - log_sum), ds = p (dp - delta), of one key and 32 queries.
  SNAKELM_INLINE void differentiate_key(const Scores& scores, const Lanes& lanes, bool masked,
                                        int64_t j, Vec* p, Vec* ds) const {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int64_t at = j * STRIP + half * LANES;
      const Vec below = load(scores.s + at) - lanes.maximum[half];
      p[half] = exp2_coarse(multiply_add(below, splat(factor), lanes.minus_log_sum[half]));
      ds[half] = p[half] * load(scores.dp + at);
      if (masked) {  // both: what isn't seen may have overflowed
        const IntVec key = splat_int(static_cast<int32_t>(j));
        const IntVec seen = (key >= lanes.begin[half]) & (key <= lanes.end[half]);
        p[half] = seen ? p[half] : Vec{}, ds[half] = seen ? ds[half] : Vec{};
      }
    }
  }

  // 32 values in their order.
  SNAKELM_INLINE static void store_row(Word* to, Vec low, Vec high) {
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
    std::memcpy(to, &both, sizeof both);
  }

  // ---- results ------------------------------------------------------------------------------

  // grad_q lies as [D][QUERIES] for each block of queries; q's rows are not needed any more.
  void write_grad_q(int64_t head, const Queries& queries, const Bad* bad) const {
    float* const rows = reinterpret_cast<float*>(queries.q_across + first * words);
    for (int64_t t = first; t < end; t += LANES) {
      const int64_t block = first + (t - first) / QUERIES * QUERIES;
      const float* const from = queries.grad_q + block * padded_dim + (t - block);
      for (int64_t d = 0; d < padded_dim; d += LANES) {
        transpose_square(from + d * QUERIES, QUERIES, rows + d, padded_dim);
      }
      write_queries(head, t, smaller(t + LANES, end), rows, bad);
    }
  }
};

}  // namespace snakelm::SNAKELM_ISA
