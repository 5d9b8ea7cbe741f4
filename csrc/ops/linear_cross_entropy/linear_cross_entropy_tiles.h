// What both passes share: a block of one matrix, the fixed one, against another matrix that
// streams by, and the two products between them.
//
//   logits[m, f] = <streamed_m, fixed_f>           sums[c, f] += sum_m streamed_mc terms[m, f]
//
// In the rows pass rows of x are fixed and the vocabulary streams, in the vocabulary pass it is the
// other way round; terms are made of logits, and sums are the gradient of what is fixed,
// transposed. Both products have one shape, C[rows, PANEL] += A[rows, words] B[words, PANEL], on
// words of a number, or of two bfloat16 (PAIRS) that are neighbours along the summed dimension:
//
//   panels  [F / PANEL][words of C][PANEL]   B of the logits, packed once
//   rows    [BLOCK][words of C]              A of the logits
//   turned  [C][words of BLOCK]              A of the sums: rows transposed
//   terms   [words of BLOCK][PANEL]          B of the sums
//   sums    [F / PANEL][C][PANEL]            float
//
// Memory of one thread, in the cache of its core: for F = 256 and C = 512 in bfloat16 these are
// 256, 192, 192, 24 and 512 KB, and 48 KB for a panel of logits.
#pragma once

#include "common/multiply.h"
#include "common/squares.h"
#include "common/workspace.h"
#include "ops/linear_cross_entropy/linear_cross_entropy_row.h"

namespace snakelm::SNAKELM_ISA {

// Streamed rows at a time: whole blocks of six and of two vectors.
constexpr int64_t BLOCK = KEPT_BLOCK;
static_assert(BLOCK % ROWS == 0 && BLOCK % (2 * LANES) == 0 && PANEL % LANES == 0);

// X, W: of the tensors x and weight.
template <class X, class W, bool PAIRS>
struct LogitTiles {
  using Word = typename Multiply<PAIRS>::Word;
  static constexpr int K = PAIRS ? 2 : 1;                // numbers in a word
  static constexpr int DEGREE = sizeof(X) == 2 ? 4 : 5;  // of the polynomial for 2^x
  static constexpr int64_t TERM_WORDS = BLOCK / K;

  const int64_t width, words, row_words,
      tall;  // C; words of a row, whole vectors; C up to whole steps
  Word *panels, *rows, *turned, *terms;
  int64_t term_row = PANEL;
  float *sums, *logits, *column;  // column: [4][F], of the rows pass

  static size_t bytes(int64_t width, int64_t fixed) {
    const int64_t words = up_to_whole((width + K - 1) / K, LANES);
    const int64_t tall = up_to_whole(words * K, ROWS);
    const int64_t numbers = fixed * words + BLOCK * (words + 16) + tall * TERM_WORDS +
                            TERM_WORDS * PANEL + fixed * tall + spare(tall) + 4 * fixed;
    return static_cast<size_t>(numbers) * 4 + 7 * 64;
  }
  static int64_t spare(int64_t tall) {  // a panel of logits, and LANES rows of a gradient
    return BLOCK * PANEL > LANES * tall ? BLOCK * PANEL : LANES * tall;
  }

  LogitTiles(Workspace& memory, int64_t width, int64_t fixed)
      : width(width), words(up_to_whole((width + K - 1) / K, LANES)), row_words(words + 16),
        tall(up_to_whole(words * K, ROWS)), panels(memory.take<Word>(fixed * words)),
        rows(memory.take<Word>(BLOCK * row_words)), turned(memory.take<Word>(tall * TERM_WORDS)),
        terms(memory.take<Word>(TERM_WORDS * PANEL)), sums(memory.take<float>(fixed * tall)),
        logits(memory.take<float>(spare(tall))), column(memory.take<float>(4 * fixed)) {
    std::memset(sums, 0, fixed * tall * sizeof(float));
    std::memset(turned, 0, tall * TERM_WORDS * sizeof(Word));
  }

  // ---- packing ------------------------------------------------------------------------------

  template <class From>
  SNAKELM_INLINE void pack_row(const From* from, Word* to) const {
    constexpr bool COPY = sizeof(From) == sizeof(X) && sizeof(X) * K == sizeof(Word);
    using Operand = std::conditional_t<PAIRS, BFloat16, float>;
    Operand* const numbers = reinterpret_cast<Operand*>(to);
    if constexpr (COPY) {
      if (width) std::memcpy(to, from, width * sizeof(From));  // no row has an address then
    } else {
      along(width,
            [&](int64_t j, auto lanes) { write(as<X>(from + j, lanes), numbers + j, lanes); });
    }
    std::memset(numbers + width, 0, (words * K - width) * sizeof(Operand));
  }

  // `count` of the chosen rows from `first` on; zeros from there up to `padded`.
  void pack_rows(const Chosen& from, int64_t first, int64_t count, int64_t padded) const {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = from.at(first + i);
      if (from.as_x) {
        pack_row(row<X>(from.rows, at), rows + i * row_words);
      } else {
        pack_row(row<W>(from.rows, at), rows + i * row_words);
      }
    }
    if (count < padded)
      std::memset(rows + count * row_words, 0, (padded - count) * row_words * sizeof(Word));
  }

  // Rows [first, first + count) of the chosen, as panels.
  void pack_fixed(const Chosen& from, int64_t first, int64_t count) const {
    for (int64_t f = 0; f < count; f += PANEL) {
      pack_rows(from, first + f, count - f < PANEL ? count - f : PANEL, PANEL);
      Word* const panel = panels + f * words;
      for (int64_t i = 0; i < PANEL; i += LANES) {
        for (int64_t w = 0; w < words; w += LANES)
          transpose_square(rows + i * row_words + w, row_words, panel + w * PANEL + i, PANEL);
      }
    }
  }

  // `rows` to `turned`, for `count` rows up to whole vectors of words.
  void turn_rows(int64_t count) const {
    for (int64_t m = 0; m < count; m += LANES * K) {
      for (int64_t w = 0; w < words; w += LANES) {
        const Word* const from = rows + m * row_words + w;
        Word* const to = turned + w * K * TERM_WORDS + m / K;
        WordVec block[LANES];
        load_square(block, from, K * row_words);
        if constexpr (PAIRS) {  // low halves of two rows, and high ones
          WordVec odd[LANES], high[LANES];
          load_square(odd, from + row_words, K * row_words);
#pragma GCC unroll 16
          for (int i = 0; i < LANES; ++i) {
            high[i] = (block[i] >> 16) | (odd[i] & 0xFFFF0000u);
            block[i] = (block[i] & 0xFFFFu) | (odd[i] << 16);
          }
          transpose(high);
          store_square(high, to + TERM_WORDS, K * TERM_WORDS);
        }
        transpose(block);
        store_square(block, to, K * TERM_WORDS);
      }
    }
  }

  // ---- products -----------------------------------------------------------------------------

  // c[rows, PANEL] = a[rows, words] b[words, PANEL], or += that; `vectors` of the panel's, and rows
  // up to a whole step.
  template <bool ADD>
  SNAKELM_INLINE static void product(const Word* a, int64_t a_row, int64_t rows, const Word* b,
                                     int64_t b_row, int64_t words, int vectors, float* c) {
    for (int64_t i = 0; i < rows; i += ROWS) {
      multiply<PAIRS, ROWS>(vectors, a + i * a_row, a_row, 1, b, b_row, static_cast<int>(words),
                            c + i * PANEL, PANEL, ADD ? ONES : nullptr);
    }
  }

  // A panel of logits [count, PANEL].
  void multiply_logits(int64_t panel, int64_t count, int vectors) const {
    product<false>(rows, row_words, count, panels + panel * PANEL * words, PANEL, words, vectors,
                   logits);
  }
  // A panel of sums from a panel of terms.
  void add_sums(int64_t panel, int64_t count, int vectors) const {
    const int64_t term_words = up_to_whole((count + K - 1) / K, LANES);
    product<true>(turned, TERM_WORDS, words * K, terms, term_row, term_words, vectors,
                  sums + panel * PANEL * tall);
  }

  // ---- terms and gradients ------------------------------------------------------------------

  // Vectors of row i (and of i + 1, its pair's other half) as terms; j: of the panel.
  SNAKELM_INLINE void store_terms(int64_t i, int64_t j, Vec low, Vec high) const {
#if defined(__AVX512BF16__)
    const WordVec pair = pair_of(low, high);
    std::memcpy(terms + i / K * PANEL + j, &pair, sizeof pair);
#else
    store(terms + i * term_row + j, low);
    store(terms + (i + 1) * term_row + j, high);
#endif
  }
  SNAKELM_INLINE void store_term(int64_t i, int64_t j, float value) const {
    using Operand = std::conditional_t<PAIRS, BFloat16, float>;
    Operand* const numbers = reinterpret_cast<Operand*>(terms + i / K * PANEL + j);
    from_float(value, numbers + i % K);
  }

  // Columns [j, j + LANES) of a panel's sums as rows [LANES][row_length()], in place of logits.
  int64_t row_length() const { return words * K; }
  void turn_sums(int64_t panel, int64_t j) const {
    const float* const from = sums + panel * PANEL * tall + j;
    for (int64_t c = 0; c < row_length(); c += LANES)
      transpose_square(from + c * PANEL, PANEL, logits + c, row_length());
  }
};

}  // namespace snakelm::SNAKELM_ISA
