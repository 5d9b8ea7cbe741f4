// Flash attention on one CPU core, forward and backward, for any vector width.
//
// Forward, per tile of 48 queries: walk the keys in chunks, keep for each row the maximum m, the
// sum l and the output o of exp(s - m) so far, rescale when m grows. Backward recomputes p = exp(s
// - log_sum) chunk by chunk:
//   dv_j += p^T do_i     ds = p * (do_i v_j^T - delta_i)     dk_j += ds^T q_i     dq_i += ds k_j,
//   delta = <do, o>.
//
// Every product has one shape, C[rows, lanes] += A[rows, k] B[k, lanes], done six rows by a panel
// of vectors at a time in registers (multiply.h). A is read by broadcasting, so it may be
// transposed for free; B must lie with its lanes contiguous. Hence the packed copies: k and v
// turned into panels of keys for s and do v^T, and k, v, q, do by rows for the rest. Packing also
// pads T and D with zeros, widens bfloat16, and lets the inputs have any strides.
//
// Masks cost nothing where they hide everything: six rows share one interval of keys, from the
// first row's row_start to the last row itself, and only vectors on its two edges are masked
// element by element.
//
// With PAIRS (AVX512-BF16) a word is two bfloat16 neighbours along the summed dimension and one
// instruction multiplies both; p and ds are rounded to bfloat16 for it, as SDPA does. Without, a
// word is a float and nothing is rounded.
#include "common/multiply.h"
#include "common/workspace.h"
#include "ops/attention/attention.h"

namespace snakelm::SNAKELM_ISA {

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LOG_2 = 0.6931471805599453f;
constexpr float INFINITE = __builtin_inff();

constexpr int TILE = static_cast<int>(ATTENTION_TILE);
static_assert(TILE % ROWS == 0 && ROWS % 2 == 0,
              "tiles are whole blocks of rows, blocks whole pairs");

SNAKELM_INLINE int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
SNAKELM_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
SNAKELM_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

template <class In, bool PAIRS>
struct Attention {
  using Word = typename Multiply<PAIRS>::Word;
  static constexpr int K = PAIRS ? 2 : 1;  // values in a word
  static constexpr int CHUNK =
      PAIRS ? 128 : 64;  // keys at a time: panels of k and v then fill the L1 cache
  static constexpr int DEGREE = sizeof(In) == 2 ? 4 : 5;  // of the polynomial for 2^x
  static_assert(CHUNK % PANEL == 0 && PANEL % LANES == 0);

  const AttentionProblem& problem;
  const AttentionItem& item;
  const int64_t time, dim;             // T, D
  const int64_t padded_dim, words;     // D up to whole vectors; words of a row
  const int64_t query_rows, key_rows;  // T up to whole tiles, and to whole chunks
  const float factor;                  // scale * log2(e): softmax in powers of two
  const int32_t* const row_start;      // [T] or null

  Attention(const AttentionProblem& p, const AttentionItem& i)
      : problem(p),
        item(i),
        time(p.time),
        dim(p.head_dim),
        padded_dim(round_up(p.head_dim, LANES)),
        words(padded_dim / K),
        query_rows(round_up(p.time, TILE)),
        key_rows(round_up(p.time, CHUNK)),
        factor(p.scale * LOG2_E),
        row_start(p.row_start ? p.row_start + i.batch * p.time : nullptr) {}

  // First key that row t sees.
  SNAKELM_INLINE int64_t start(int64_t t) const {
    return row_start ? larger(0, smaller(row_start[t], t)) : 0;
  }

  const In* at(const AttentionView& view, int64_t t, int64_t head) const {
    return static_cast<const In*>(view.data) + item.batch * view.batch + t * view.time +
           head * view.head;
  }

  // ---- packing
  // -----------------------------------------------------------------------------------------------------

  // Bits of a word whose exponent is all ones (NaN, infinity): adding one to the exponent carries
  // into the sign bit.
  static constexpr uint32_t EXPONENT = PAIRS ? 0x7F807F80u : 0x7F800000u,
                            ONE = PAIRS ? 0x00800080u : 0x00800000u;
  static constexpr uint32_t SIGN = PAIRS ? 0x80008000u : 0x80000000u;

  // One row to words, zero padded; returns a vector in which SIGN bits mark NaN and infinity.
  SNAKELM_INLINE WordVec pack_row(const In* from, Word* to) const {
    WordVec broken{};
    constexpr int64_t STEP = LANES * K;
    int64_t d = 0;
    for (; d + STEP <= dim; d += STEP) broken |= pack_vector(from + d, to + d / K);
    if (d < padded_dim) {  // through a zeroed buffer: a row may end anywhere
      alignas(64) In part[STEP] = {};
      if (d < dim) std::memcpy(part, from + d, (dim - d) * sizeof(In));
      alignas(64) Word packed[LANES];
      broken |= pack_vector(part, packed);
      std::memcpy(to + d / K, packed, (padded_dim - d) / K * sizeof(Word));
    }
    return broken;
  }

  SNAKELM_INLINE static WordVec pack_vector(const In* from, Word* to) {
    WordVec words;
    if constexpr (PAIRS) {
      std::memcpy(&words, from, sizeof words);
    } else {
      words = (WordVec)load_wide(from);
    }
    std::memcpy(to, &words, sizeof words);
    return (words & EXPONENT) + ONE;
  }

  SNAKELM_INLINE static bool has_sign(WordVec v) { return any_negative(PAIRS ? v | (v << 16) : v); }

  // Rows [first, last) of a head to [row][words] at `to`; rows from `time` on are zeros. A row with
  // NaN or infinity becomes zeros too and sets bad[t] (uint8 [T]); true when there was one.
  bool pack_rows(const AttentionView& view, int64_t head, int64_t first, int64_t last, Word* to,
                 uint8_t* bad) const {
    WordVec broken{};
    const int64_t end = smaller(last, time);
    for (int64_t t = first; t < end; ++t)
      broken |= pack_row(at(view, t, head), to + (t - first) * words);
    if (end < last) {
      const int64_t from = larger(end, first);
      std::memset(to + (from - first) * words, 0, (last - from) * words * sizeof(Word));
    }
    if (__builtin_expect(!has_sign(broken), 1)) return false;
    for (int64_t t = first; t < end; ++t) {
      if (!has_sign(pack_row(at(view, t, head), to + (t - first) * words))) continue;
      std::memset(to + (t - first) * words, 0, words * sizeof(Word));
      bad[t] = 1;
    }
    return true;
  }

  // Packed rows [n][words] to panels [n / PANEL][words][PANEL]: lanes run over keys. n: a multiple
  // of PANEL.
  void pack_panels(const Word* rows, int64_t n, Word* to) const {
    for (int64_t panel = 0; panel < n; panel += PANEL, to += words * PANEL) {
      for (int64_t key = 0; key < PANEL; key += LANES) {
        for (int64_t w = 0; w < words; w += LANES)
          transpose_block(rows + (panel + key) * words, w, to + key);
      }
    }
  }

  void transpose_block(const Word* rows, int64_t w, Word* to) const {
    const int64_t width = smaller(LANES, words - w);  // PAIRS: D = 16 is only eight words
    WordVec block[LANES];
    if (__builtin_expect(width == LANES, 1)) {
#pragma GCC unroll 16
      for (int i = 0; i < LANES; ++i) std::memcpy(&block[i], rows + i * words + w, sizeof block[i]);
      transpose(block);
#pragma GCC unroll 16
      for (int i = 0; i < LANES; ++i) std::memcpy(to + (w + i) * PANEL, &block[i], sizeof block[i]);
      return;
    }
    for (int i = 0; i < LANES; ++i) {
      block[i] = WordVec{};
      std::memcpy(&block[i], rows + i * words + w, width * sizeof(Word));
    }
    transpose(block);
    for (int i = 0; i < width; ++i) std::memcpy(to + (w + i) * PANEL, &block[i], sizeof block[i]);
  }

  // Packed rows [n][words] to [n / K][padded_dim] words: lanes run over D, a word pairs two rows.
  // n: even.
  void pack_across(const Word* rows, int64_t n, Word* to) const {
    if constexpr (PAIRS) {
      for (int64_t t = 0; t < n; t += 2, rows += 2 * words, to += padded_dim) {
        int64_t w = 0;
        for (; w + LANES <= words; w += LANES) {
          WordVec even, odd;
          std::memcpy(&even, rows + w, sizeof even);
          std::memcpy(&odd, rows + words + w, sizeof odd);
          interleave((even & 0xFFFFu) | (odd << 16), (even >> 16) | (odd & 0xFFFF0000u), to + 2 * w,
                     std::make_index_sequence<LANES>{});
        }
        for (; w < words; ++w) {
          const uint32_t even = rows[w], odd = rows[words + w];
          to[2 * w] = (even & 0xFFFFu) | (odd << 16);
          to[2 * w + 1] = (even >> 16) | (odd & 0xFFFF0000u);
        }
      }
    } else if (to != rows) {
      std::memcpy(to, rows, n * words * sizeof(Word));
    }
  }

  // ---- what a block of rows sees
  // ------------------------------------------------------------------------------------

  struct Interval {
    int64_t low, high;  // keys [low, high) within one chunk, low a multiple of LANES
    bool masked;        // some row of the block does not see all of them, up to a whole vector
  };

  // Rows [row, row + ROWS) against keys [chunk, chunk + CHUNK).
  Interval interval(int64_t row, int64_t chunk) const {
    const int64_t last = smaller(row + ROWS, time) - 1;
    if (last < row) return {0, 0, false};
    const int64_t low = larger(chunk, start(row) / LANES * LANES),
                  high = smaller(chunk + CHUNK, last + 1);
    if (low >= high) return {0, 0, false};
    return {low, high, low < start(last) || round_up(high, LANES) > row + 1};
  }

  // All ones where row `t` sees key first + lane.
  SNAKELM_INLINE IntVec seen(int64_t t, int64_t first) const {
    IntVec key;
    for (int i = 0; i < LANES; ++i) key[i] = i;
    if (t >= time) return IntVec{};
    key += splat_int(static_cast<int32_t>(first));
    return (key >= splat_int(static_cast<int32_t>(start(t)))) &
           (key <= splat_int(static_cast<int32_t>(t)));
  }

  // to[ROWS][CHUNK] = rows of A [ROWS][words] times panels of keys, over the interval.
  SNAKELM_INLINE void score(const Word* rows, const Word* panels, int64_t chunk,
                            const Interval& keys, float* to) const {
    for (int64_t key = keys.low; key < keys.high;) {
      const int64_t panel = key / PANEL * PANEL,
                    end = smaller(panel + PANEL, round_up(keys.high, LANES));
      multiply<PAIRS, ROWS>(static_cast<int>((end - key) / LANES), rows, words, 1,
                            panels + panel * words + (key - panel), PANEL, static_cast<int>(words),
                            to + (key - chunk), CHUNK, nullptr);
      key = end;
    }
  }

  // ---- forward
  // -------------------------------------------------------------------------------------------------------

  struct ForwardTile {
    alignas(64) float s[ROWS * CHUNK];
    alignas(64) Word p[ROWS * CHUNK];
    alignas(64) float sum[TILE * LANES];  // lane by lane; added up once, at the end
    float maximum[TILE];
  };

  // Softmax of ROWS x interval from tile.s to tile.p; keep[r] is what the row's earlier sum and
  // output shrink by.
  SNAKELM_INLINE void soften(ForwardTile& tile, int block, int64_t row, int64_t chunk,
                             const Interval& keys, float* keep) const {
    const int64_t low = keys.low - chunk, high = round_up(keys.high - chunk, LANES);
    Vec top[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      float* s = tile.s + r * CHUNK;
      top[r] = splat(-INFINITE);
      for (int64_t j = low; j < high; j += LANES) {
        Vec x = load(s + j);
        if (keys.masked) {
          x = seen(row + r, chunk + j) ? x : splat(-INFINITE);
          store(s + j, x);
        }
        top[r] = SNAKELM_ISA::maximum(top[r], x);
      }
    }
    Vec shift[ROWS];
    for (int r = 0; r < ROWS; ++r) {
      float& m = tile.maximum[block + r];
      // A negative scale would turn the maximum into the minimum; the public function forbids it.
      const float grown = larger_float(m, reduce_maximum(top[r]));
      const float finite =
          grown == -INFINITE ? 0.0f : grown;  // nothing seen yet: keep exp(-inf - 0) = 0
      keep[r] = m == -INFINITE ? 0.0f : exp2<5>(splat((m - finite) * factor))[0];
      m = grown;
      shift[r] = splat(-finite * factor);
      Vec sum = load(tile.sum + (block + r) * LANES) * splat(keep[r]);
      for (int64_t j = low; j < high; j += LANES) {
        const Vec p =
            exp2<DEGREE>(multiply_add(load(tile.s + r * CHUNK + j), splat(factor), shift[r]));
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

  // o[ROWS][padded_dim] = o * keep + p v over the interval.
  SNAKELM_INLINE void gather(const Word* p, const Word* across, int64_t chunk, const Interval& keys,
                             float* o, const float* keep) const {
    const int count = static_cast<int>((round_up(keys.high, K) - keys.low) / K);
    for (int64_t d = 0; d < padded_dim; d += PANEL) {
      const int vectors = static_cast<int>(smaller(PANEL, padded_dim - d) / LANES);
      multiply<PAIRS, ROWS>(vectors, p + (keys.low - chunk) / K, CHUNK / K, 1,
                            across + keys.low / K * padded_dim + d, padded_dim, count, o + d,
                            padded_dim, keep);
    }
  }

  // What a query must not see: count[t] = broken rows before t, so an interval is checked by one
  // difference.
  static void accumulate(const uint8_t* bad, int64_t n, int32_t* count) {
    count[0] = 0;
    for (int64_t t = 0; t < n; ++t) count[t + 1] = count[t] + bad[t];
  }

  void forward() {
    const int64_t first = start(item.first_row) / CHUNK * CHUNK,
                  last = round_up(item.last_row, CHUNK);
    const int64_t keys = last - first;
    Workspace space((3 * keys + 2 * TILE) * padded_dim * sizeof(float) + 6 * time + 4096);
    Word* const rows = space.take<Word>(keys * words);
    Word* const panels = space.take<Word>(keys * words);
    Word* const across = PAIRS ? space.take<Word>(keys * words) : rows;
    Word* const query = space.take<Word>(TILE * words);
    float* const o = space.take<float>(TILE * padded_dim);
    uint8_t* const bad_key = space.take<uint8_t>(time);
    uint8_t* const bad_query = space.take<uint8_t>(time);
    int32_t* const broken = space.take<int32_t>(time + 1);
    std::memset(bad_key, 0, time);
    bool poisoned = pack_rows(problem.k, item.kv_head, first, last, rows, bad_key);
    pack_panels(rows, keys, panels);
    poisoned |= pack_rows(problem.v, item.kv_head, first, last, rows, bad_key);
    pack_across(rows, keys, across);
    if (poisoned) accumulate(bad_key, time, broken);
    for (int64_t head = item.first_head; head < item.last_head; ++head) {
      for (int64_t tile = item.first_row; tile < item.last_row; tile += TILE) {
        std::memset(bad_query + tile, 0, smaller(TILE, time - tile));
        const bool ill = pack_rows(problem.q, head, tile, tile + TILE, query, bad_query);
        // Pointers as if the packed keys began at position 0.
        forward_tile(head, tile, query, panels - first * words, across - first / K * padded_dim, o,
                     poisoned ? broken : nullptr, ill ? bad_query : nullptr);
      }
    }
  }

  void forward_tile(int64_t head, int64_t first, const Word* query, const Word* panels,
                    const Word* across, float* o, const int32_t* broken,
                    const uint8_t* bad_query) const {
    ForwardTile tile;
    std::memset(o, 0, TILE * padded_dim * sizeof(float));
    std::memset(tile.sum, 0, sizeof tile.sum);
    for (float& m : tile.maximum) m = -INFINITE;
    const int64_t last = smaller(first + TILE, time);
    for (int64_t chunk = start(first) / CHUNK * CHUNK; chunk < last; chunk += CHUNK) {
      for (int block = 0; block < TILE; block += ROWS) {
        const Interval keys = interval(first + block, chunk);
        if (keys.low == keys.high) continue;
        float keep[ROWS];
        score(query + block * words, panels, chunk, keys, tile.s);
        soften(tile, block, first + block, chunk, keys, keep);
        gather(tile.p, across, chunk, keys, o + block * padded_dim, keep);
      }
    }
    for (int64_t t = first; t < last; ++t) {
      const bool ill = (bad_query && bad_query[t]) || (broken && broken[t + 1] > broken[start(t)]);
      const float sum = reduce_sum(load(tile.sum + (t - first) * LANES));
      const float scale = ill ? __builtin_nanf("") : 1.0f / sum;
      In* const out =
          static_cast<In*>(problem.out) + ((item.batch * time + t) * problem.heads + head) * dim;
      const float* const row = o + (t - first) * padded_dim;
      write_row(row, scale, out);
      problem.log_sum[(item.batch * problem.heads + head) * time + t] =
          ill ? __builtin_nanf("") : tile.maximum[t - first] * problem.scale + __builtin_logf(sum);
    }
  }

  // ---- backward
  // ------------------------------------------------------------------------------------------------------

  struct BackwardTile {
    alignas(64) float s[ROWS * CHUNK];
    alignas(64) float dp[ROWS * CHUNK];
    // p and ds for sums over queries: [TILE / K][CHUNK] words. ds again for sums over keys:
    // [TILE][CHUNK / K].
    alignas(64) Word p[TILE / K * CHUNK];
    alignas(64) Word ds[TILE / K * CHUNK];
    alignas(64) Word ds_rows[PAIRS ? TILE * CHUNK / K : 1];
  };

  struct Keys {
    Word *k_panels, *v_panels, *k_across;
    float *grad_k, *grad_v;  // [key_rows][padded_dim]
  };
  struct Queries {
    Word *q, *q_across, *grad_out, *grad_out_across;  // q and grad_out by rows and across
    float *grad_q, *log_sum,
        *delta;  // [query_rows][padded_dim], [query_rows] in powers of two, ...
  };

  // p = 2^(s factor - log_sum), ds = p (dp - delta), of one row's vector.
  SNAKELM_INLINE void differentiate(const BackwardTile& tile, const Queries& queries, int64_t t,
                                    int64_t at, int64_t key, bool masked, Vec& p, Vec& ds) const {
    p = exp2<DEGREE>(multiply_add(load(tile.s + at), splat(factor), splat(-queries.log_sum[t])));
    if (masked) p = seen(t, key) ? p : Vec{};
    ds = p * (load(tile.dp + at) - splat(queries.delta[t]));
  }

  // Fill rows [block, block + ROWS) of the tile's p and ds over the whole chunk: zeros outside the
  // interval.
  SNAKELM_INLINE void differentiate_block(BackwardTile& tile, const Queries& queries, int block,
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
          for (int i = 0; i < K; ++i)
            store_bfloat16(tile.ds_rows + ((block + r + i) * CHUNK + j) / 2, ds[i]);
#endif
        } else {
          store(p_row + j, p[0]);
          store(ds_row + j, ds[0]);
        }
      }
    }
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

  // Both key gradients of one tile and chunk. first/last: the interval of each block of rows, to
  // skip what is zero.
  void scatter(const BackwardTile& tile, const Interval* seen_keys, const Word* q_across,
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
    return seen_keys.low == seen_keys.high || seen_keys.low >= key + ROWS;
  }

  void backward_tile(BackwardTile& tile, const Keys& keys, const Queries& queries, int64_t first,
                     int64_t chunk) const {
    Interval seen_keys[TILE / ROWS];
    bool any = false;
    for (int block = 0; block < TILE; block += ROWS) {
      const Interval& here = seen_keys[block / ROWS] = interval(first + block, chunk);
      if (here.low == here.high) continue;
      any = true;
      score(queries.q + (first + block) * words, keys.k_panels, chunk, here, tile.s);
      score(queries.grad_out + (first + block) * words, keys.v_panels, chunk, here, tile.dp);
      differentiate_block(tile, queries, block, first + block, chunk, here);
      const Word* const ds = PAIRS ? tile.ds_rows + block * (CHUNK / K) : tile.ds + block * CHUNK;
      gather(ds, keys.k_across, chunk, here, queries.grad_q + (first + block) * padded_dim, ONES);
    }
    if (!any) return;
    scatter(tile, seen_keys, queries.q_across + first / K * padded_dim,
            queries.grad_out_across + first / K * padded_dim, chunk, keys);
  }

  void backward() {
    const int64_t most = larger(query_rows, key_rows);
    Workspace space((10 * padded_dim + 4) * most * sizeof(float) + 8192);
    const auto take = [&] { return space.take<Word>(most * words); };
    Keys keys;
    Queries queries;
    keys.k_panels = take(), keys.v_panels = take(), keys.k_across = take();
    queries.q = take(), queries.grad_out = take();
    queries.q_across = PAIRS ? take() : queries.q;
    queries.grad_out_across = PAIRS ? take() : queries.grad_out;
    queries.grad_q = space.take<float>(query_rows * padded_dim);
    queries.log_sum = space.take<float>(query_rows), queries.delta = space.take<float>(query_rows);
    keys.grad_k = space.take<float>(key_rows * padded_dim),
    keys.grad_v = space.take<float>(key_rows * padded_dim);
    Bad bad{space.take<uint8_t>(time), space.take<uint8_t>(time), space.take<int32_t>(time + 1)};
    std::memset(bad.key, 0, time);
    std::memset(keys.grad_k, 0, key_rows * padded_dim * sizeof(float));
    std::memset(keys.grad_v, 0, key_rows * padded_dim * sizeof(float));
    // Rows on their way to panels pass through a buffer that is not yet in use.
    bool poisoned = pack_rows(problem.v, item.kv_head, 0, key_rows, queries.q, bad.key);
    pack_panels(queries.q, key_rows, keys.v_panels);
    poisoned |= pack_rows(problem.k, item.kv_head, 0, key_rows, queries.q, bad.key);
    pack_panels(queries.q, key_rows, keys.k_panels);
    pack_across(queries.q, key_rows, keys.k_across);
    bool ill = false;
    for (int64_t head = item.first_head; head < item.last_head; ++head) {
      std::memset(bad.query, 0, time);
      const bool ill_head = pack_queries(head, queries, bad.query);
      ill |= ill_head;
      backward_head(keys, queries);
      write_grad_q(head, queries, poisoned || ill_head ? &bad : nullptr);
      if (ill_head) poison_keys(bad, keys);
    }
    write_keys(keys, poisoned ? bad.key : nullptr);
  }

  void backward_head(const Keys& keys, const Queries& queries) const {
    BackwardTile tile;
    std::memset(queries.grad_q, 0, query_rows * padded_dim * sizeof(float));
    for (int64_t chunk = 0; chunk < time; chunk += CHUNK) {
      for (int64_t first = chunk / TILE * TILE; first < time; first += TILE) {
        if (start(first) >= chunk + CHUNK) break;  // no later row sees this chunk either
        backward_tile(tile, keys, queries, first, chunk);
      }
    }
  }

  bool pack_queries(int64_t head, const Queries& queries, uint8_t* bad) const {
    bool ill = pack_rows(problem.q, head, 0, query_rows, queries.q, bad);
    ill |= pack_rows(problem.grad_out, head, 0, query_rows, queries.grad_out, bad);
    if (PAIRS) {
      pack_across(queries.q, query_rows, queries.q_across);
      pack_across(queries.grad_out, query_rows, queries.grad_out_across);
    }
    const float* const log_sum = problem.log_sum + (item.batch * problem.heads + head) * time;
    for (int64_t t = 0; t < query_rows; ++t) {
      queries.log_sum[t] = INFINITE,
      queries.delta[t] = 0;  // p = 0: beyond T, or a row that is NaN anyway
      if (t >= time || bad[t]) continue;
      const In* const grad_out = at(problem.grad_out, t, head);
      const In* const out = static_cast<const In*>(problem.out) +
                            ((item.batch * time + t) * problem.heads + head) * dim;
      const float delta = inner(grad_out, out);
      if (!(delta - delta == 0) || !(log_sum[t] - log_sum[t] == 0)) {
        bad[t] = 1, ill = true;
        continue;
      }
      queries.log_sum[t] = log_sum[t] * LOG2_E, queries.delta[t] = delta;
    }
    return ill;
  }

  // <a, b> of one row of D.
  SNAKELM_INLINE float inner(const In* a, const In* b) const {
    Vec sum{};
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES)
      sum = multiply_add(load_wide(a + d), load_wide(b + d), sum);
    const int rest = static_cast<int>(dim - d);
    if (rest) sum = multiply_add(load_wide_part(a + d, rest), load_wide_part(b + d, rest), sum);
    return reduce_sum(sum);
  }

  // ---- results, and NaN where a broken row was seen
  // -------------------------------------------------------------------

  struct Bad {
    uint8_t *key, *query;  // [T]
    int32_t* count;        // [T + 1]
  };

  // D floats times scale, to the dtype of the tensors.
  SNAKELM_INLINE void write_row(const float* from, float scale, In* to) const {
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES) store_narrow(load(from + d) * splat(scale), to + d);
    for (; d < dim; ++d) from_float(from[d] * scale, to + d);
  }

  void write_grad_q(int64_t head, const Queries& queries, const Bad* bad) const {
    if (bad) accumulate(bad->key, time, bad->count);
    for (int64_t t = 0; t < time; ++t) {
      const bool ill = bad && (bad->query[t] || bad->count[t + 1] > bad->count[start(t)]);
      const float scale = ill ? __builtin_nanf("") : problem.scale;
      In* const to =
          static_cast<In*>(problem.grad_q) + ((item.batch * time + t) * problem.heads + head) * dim;
      write_row(queries.grad_q + t * padded_dim, scale, to);
    }
  }

  // Keys that a broken query sees: [start(t), t] for each such t.
  void poison_keys(const Bad& bad, const Keys& keys) const {
    int64_t next = time;  // keys from `next` on are done
    for (int64_t t = time - 1; t >= 0; --t) {
      if (!bad.query[t]) continue;
      for (int64_t key = smaller(t + 1, next) - 1; key >= start(t); --key) {
        keys.grad_k[key * padded_dim] = keys.grad_v[key * padded_dim] = __builtin_nanf("");
        next = key;
      }
    }
  }

  void write_keys(const Keys& keys, const uint8_t* bad) const {
    for (int64_t t = 0; t < time; ++t) {
      const int64_t to = ((item.batch * time + t) * problem.kv_heads + item.kv_head) * dim,
                    from = t * padded_dim;
      const float mark = keys.grad_k[from];  // poison_keys writes the first element only
      const float ill = (bad && bad[t]) || !(mark == mark) ? __builtin_nanf("") : 1.0f;
      write_row(keys.grad_k + from, problem.scale * ill, static_cast<In*>(problem.grad_k) + to);
      write_row(keys.grad_v + from, ill, static_cast<In*>(problem.grad_v) + to);
    }
  }
};

template <class In, bool PAIRS>
AttentionKernels kernels_of() {
  return {[](const AttentionProblem& p, const AttentionItem& i) {
            Attention<In, PAIRS>(p, i).forward();
          },
          [](const AttentionProblem& p, const AttentionItem& i) {
            Attention<In, PAIRS>(p, i).backward();
          }};
}

AttentionKernels attention_kernels(AttentionType type) {
#if defined(__AVX512BF16__)
  // float32 gains nothing from pairs of bfloat16 and stays with avx512.
  return type == AttentionType::bfloat16 ? kernels_of<BFloat16, true>() : AttentionKernels{};
#else
  return type == AttentionType::float32 ? kernels_of<float, false>()
                                        : kernels_of<BFloat16, false>();
#endif
}

}  // namespace snakelm::SNAKELM_ISA
