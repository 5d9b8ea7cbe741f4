// What forward and backward share: packed copies of the inputs, the intervals of keys that rows
// see, and the two products.
//
// Every product has one shape, C[rows, lanes] += A[rows, k] B[k, lanes], done six rows by a panel
// of vectors at a time in registers (common/multiply.h). A is read by broadcasting, so it may be
// transposed for free; B must lie with its lanes contiguous. Hence two packed layouts:
//
//   panels   [n / PANEL][words][PANEL]   lanes run over keys: B of s = q k^T and of grad_out v^T
//   across   [n / K][padded_dim]         lanes run over D:    B of o += p v and of the gradients
//
// Packing also pads T and D with zeros, widens bfloat16, and lets the inputs have any strides.
//
// Masks cost nothing where they hide everything: six rows share one interval of keys, from the
// first row's row_start to the last row itself, and only vectors on its two edges are masked
// element by element.
//
// With PAIRS (AVX512-BF16) a word is two bfloat16, neighbours along the summed dimension, and one
// instruction multiplies both; p and ds are rounded to bfloat16 for it, as SDPA does. Without, a
// word is a float and nothing is rounded.
#pragma once

#include "common/multiply.h"
#include "common/squares.h"
#include "common/workspace.h"
#include "ops/attention/attention.h"

namespace snakelm::SNAKELM_ISA {

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float INFINITE = __builtin_inff();

constexpr int TILE = 48;
static_assert(TILE % ROWS == 0 && ROWS % 2 == 0,
              "tiles are whole blocks of rows, blocks whole pairs");

SNAKELM_INLINE int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
SNAKELM_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
SNAKELM_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// What a block of ROWS rows sees of one chunk.
struct Interval {
  int64_t low, high;  // keys [low, high), low a multiple of LANES
  bool masked;        // some row does not see all of them, up to a whole vector

  bool empty() const { return low == high; }
};

template <class In, bool PAIRS>
struct Tiles {
  using Word = typename Multiply<PAIRS>::Word;
  static constexpr int K = PAIRS ? 2 : 1;         // values in a word
  static constexpr int CHUNK = PAIRS ? 128 : 64;  // keys at a time: panels of k and v fill the L1
  static constexpr int DEGREE = sizeof(In) == 2 ? 4 : 5;  // of the polynomial for 2^x
  static_assert(CHUNK % PANEL == 0 && PANEL % LANES == 0);

  const AttentionProblem& problem;
  const AttentionItem& item;
  const int64_t time, dim;          // T, D
  const int64_t padded_dim, words;  // D up to whole vectors; words of a row
  const float factor;               // scale * log2(e): softmax in powers of two
  const int32_t* const row_start;   // [T] or null

  Tiles(const AttentionProblem& p, const AttentionItem& i, int64_t unit = LANES)
      : problem(p), item(i), time(p.time), dim(p.head_dim), padded_dim(round_up(p.head_dim, unit)),
        words(padded_dim / K), factor(p.scale * LOG2_E),
        row_start(p.row_start ? p.row_start + i.batch * p.time : nullptr) {}

  // First key that row t sees.
  SNAKELM_INLINE int64_t start(int64_t t) const {
    return row_start ? larger(0, smaller(row_start[t], t)) : 0;
  }

  // Row t of a head of an input.
  const In* at(const AttentionView& view, int64_t t, int64_t head) const {
    return static_cast<const In*>(view.data) + item.batch * view.batch + t * view.time +
           head * view.head;
  }

  // [2, T] of a head.
  float* log_sums(int64_t head) const {
    return problem.log_sum + (item.batch * problem.heads + head) * 2 * time;
  }

  // Row t of a head of a dense [B, T, H, D] array: out and grad_q.
  In* query_row(void* data, int64_t t, int64_t head) const {
    return static_cast<In*>(data) + ((item.batch * time + t) * problem.heads + head) * dim;
  }

  // ---- packing: inputs to rows of words, rows to panels and across --------------------------

  // Rows [first, last) of a head to [row][words] at `to`; rows from `time` on are zeros. A row with
  // NaN or infinity becomes zeros too and sets bad[t] (uint8 [T]); true when there was one.
  bool pack_rows(const AttentionView& view, int64_t head, int64_t first, int64_t last, Word* to,
                 uint8_t* bad) const {
    WordVec broken{};
    const int64_t end = smaller(last, time);
    for (int64_t t = first; t < end; ++t) {
      prefetch_row(at(view, t + AHEAD, head));
      broken |= pack_row(at(view, t, head), to + (t - first) * words);
    }
    if (end < last) {
      const int64_t from = larger(end, first);
      std::memset(to + (from - first) * words, 0, (last - from) * words * sizeof(Word));
    }
    if (__builtin_expect(!has_sign(broken), 1)) return false;

    for (int64_t t = first; t < end; ++t) {  // rare: find out which rows
      if (!has_sign(pack_row(at(view, t, head), to + (t - first) * words))) continue;
      std::memset(to + (t - first) * words, 0, words * sizeof(Word));
      bad[t] = 1;
    }
    return true;
  }

  // A head's rows lie far apart: no prefetcher of the CPU sees them coming. Beyond the end of an
  // array this reads nothing either, it is a hint.
  static constexpr int64_t AHEAD = 32;
  SNAKELM_INLINE void prefetch_row(const In* row) const {
    for (int64_t d = 0; d < dim; d += 64 / static_cast<int64_t>(sizeof(In)))
      __builtin_prefetch(row + d, 0, 2);
  }

  // One row to words, zero padded; returns a vector whose sign bits mark NaN and infinity.
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

  // NaN and infinity have an exponent of all ones: adding one to it carries into the sign bit, and
  // the signs of all words of a row are looked at once.
  static constexpr uint32_t EXPONENT = PAIRS ? 0x7F807F80u : 0x7F800000u;
  static constexpr uint32_t ONE = PAIRS ? 0x00800080u : 0x00800000u;

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

  // Rows [n][width] to panels [n / PANEL][width][PANEL]. n: a multiple of PANEL.
  static void pack_panels(const Word* rows, int64_t n, Word* to, int64_t width) {
    for (int64_t panel = 0; panel < n; panel += PANEL, to += width * PANEL) {
      for (int64_t key = 0; key < PANEL; key += LANES) {
        for (int64_t w = 0; w < width; w += LANES) {
          transpose_block(rows + (panel + key) * width, width, w, to + key);
        }
      }
    }
  }

  // LANES rows of `row` words by up to LANES words from w on, transposed in registers.
  static void transpose_block(const Word* rows, int64_t row, int64_t w, Word* to) {
    const int64_t width = smaller(LANES, row - w);  // PAIRS: D = 16 is only eight words
    if (__builtin_expect(width == LANES, 1)) {
      transpose_square(rows + w, row, to + w * PANEL, PANEL);
      return;
    }

    WordVec block[LANES];
    for (int i = 0; i < LANES; ++i) {
      block[i] = WordVec{};
      std::memcpy(&block[i], rows + i * row + w, width * sizeof(Word));
    }
    transpose(block);
    for (int i = 0; i < width; ++i) std::memcpy(to + (w + i) * PANEL, &block[i], sizeof block[i]);
  }

  // Packed rows [n][words] to [n / K][padded_dim] words: a word pairs two rows. n: even.
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

  // ---- what rows see ------------------------------------------------------------------------

  // Rows [row, row + ROWS) against keys [chunk, chunk + CHUNK).
  Interval interval(int64_t row, int64_t chunk) const {
    const int64_t last = smaller(row + ROWS, time) - 1;
    if (last < row) return {0, 0, false};

    const int64_t low = larger(chunk, start(row) / LANES * LANES);
    const int64_t high = smaller(chunk + CHUNK, last + 1);
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

  // ---- products -----------------------------------------------------------------------------

  // to[ROWS][CHUNK] = rows of A [ROWS][words] times panels of keys, over the interval.
  SNAKELM_INLINE void score(const Word* rows, const Word* panels, int64_t chunk,
                            const Interval& keys, float* to) const {
    for (int64_t key = keys.low; key < keys.high;) {
      const int64_t panel = key / PANEL * PANEL;
      const int64_t end = smaller(panel + PANEL, round_up(keys.high, LANES));
      multiply<PAIRS, ROWS>(static_cast<int>((end - key) / LANES), rows, words, 1,
                            panels + panel * words + (key - panel), PANEL, static_cast<int>(words),
                            to + (key - chunk), CHUNK, nullptr);
      key = end;
    }
  }

  // o[ROWS][padded_dim] = o * keep + p v over the interval; p [ROWS][CHUNK / K].
  SNAKELM_INLINE void weigh(const Word* p, const Word* across, int64_t chunk, const Interval& keys,
                            float* o, const float* keep) const {
    const int count = static_cast<int>((round_up(keys.high, K) - keys.low) / K);
    for (int64_t d = 0; d < padded_dim; d += PANEL) {
      const int vectors = static_cast<int>(smaller(PANEL, padded_dim - d) / LANES);
      multiply<PAIRS, ROWS>(vectors, p + (keys.low - chunk) / K, CHUNK / K, 1,
                            across + keys.low / K * padded_dim + d, padded_dim, count, o + d,
                            padded_dim, keep);
    }
  }

  // ---- results ------------------------------------------------------------------------------

  // D floats times scale, to the dtype of the tensors.
  SNAKELM_INLINE void write_row(const float* from, float scale, In* to) const {
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES) store_narrow(load(from + d) * splat(scale), to + d);
    for (; d < dim; ++d) from_float(from[d] * scale, to + d);
  }

  // count[t] = bad rows before t, so that "does [start, t] hold one?" is one difference.
  static void accumulate(const uint8_t* bad, int64_t n, int32_t* count) {
    count[0] = 0;
    for (int64_t t = 0; t < n; ++t) count[t + 1] = count[t] + bad[t];
  }
};

}  // namespace snakelm::SNAKELM_ISA
