// Splitting by bitmask: 64 bytes are classified at once, one bit a byte, and the starts of pieces
// follow from the masks by shifts and additions, without a branch a character. Compiled once for
// each instruction set (common/isa.h).
//
// Decision: a window begins where a piece is known to start. What a piece is depends only on the
// text behind its start, so no state passes from window to window; the last start that is certain
// in one window is where the next one begins. Uncertain are: a run of white space that may go on
// behind the window (what its last character and its last newline are is not known), and starts
// near the end, which a contraction may move.
//
// Known are ASCII and letters of two bytes, whose bits are set for both bytes: what the rules ask
// of a letter (is the byte before one, the next one) is then the same whatever its length. Any
// other character ends the window. Cyrillic, where nearly every letter has two bytes, is found by
// comparing; of other scripts the classes are looked up one by one.
//
// Bit i of a mask is byte i; `mask << 1` is "the byte before is". An addition carries along a run
// of ones: R + s clears the part of a run of R from its bit s on, so R & ~(R + s) is that part.
// The rules are split.h's scanners, which are the specification; the names are the same.
// Without AVX2 there is none, and split.h's scanners do all the work.
#ifdef __AVX2__
#include <immintrin.h>

#include "text/char_class.h"
#include "text/split_kernel.h"

namespace snakelm::SNAKELM_ISA {
namespace {

// Bits of the bytes of letters, and of those in upper case.
struct Letters {
  uint64_t all, upper;
};

#ifdef __AVX512BW__

class Window {
 public:
  explicit Window(const uint8_t* p) : bytes_(_mm512_loadu_si512(p)) {}
  uint64_t is(char c) const { return _mm512_cmpeq_epi8_mask(bytes_, _mm512_set1_epi8(c)); }
  uint64_t range(char first, int count) const { return within(bytes_, first, count); }
  Letters letters() const {
    return {within(_mm512_or_si512(bytes_, _mm512_set1_epi8(0x20)), 'a', 26), range('A', 26)};
  }
  uint64_t high() const { return _mm512_movepi8_mask(bytes_); }

 private:
  static uint64_t within(__m512i x, char first, int count) {
    const __m512i from_first = _mm512_sub_epi8(x, _mm512_set1_epi8(first));
    return _mm512_cmplt_epu8_mask(from_first, _mm512_set1_epi8(static_cast<char>(count)));
  }
  __m512i bytes_;
};

#else

// The numbers of a byte's bits, least first, and zeros.
constexpr auto BITS_OF = [] {
  struct {
    uint8_t at[256][8];
  } table{};
  for (int byte = 0; byte < 256; ++byte) {
    for (uint8_t bit = 0, n = 0; bit < 8; ++bit) {
      if (byte >> bit & 1) table.at[byte][n++] = bit;
    }
  }
  return table;
}();

class Window {
 public:
  explicit Window(const uint8_t* p)
      : low_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))),
        high_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))) {}
  uint64_t is(char c) const {
    const __m256i wanted = _mm256_set1_epi8(c);
    return bits(_mm256_cmpeq_epi8(low_, wanted), _mm256_cmpeq_epi8(high_, wanted));
  }
  uint64_t range(char first, int count) const {
    return bits(within(low_, first, count), within(high_, first, count));
  }
  Letters letters() const {
    const __m256i fold = _mm256_set1_epi8(0x20);
    return {bits(within(_mm256_or_si256(low_, fold), 'a', 26),
                 within(_mm256_or_si256(high_, fold), 'a', 26)),
            range('A', 26)};
  }
  uint64_t high() const { return bits(low_, high_); }

 private:
  static uint64_t bits(__m256i low, __m256i high) {
    return static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
           static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(high))) << 32;
  }
  static __m256i within(__m256i x, char first, int count) {
    const __m256i from_first = _mm256_sub_epi8(x, _mm256_set1_epi8(first));
    const __m256i last = _mm256_set1_epi8(static_cast<char>(count - 1));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(from_first, last), from_first);
  }
  __m256i low_, high_;
};

#endif

// Length of '(?:[sdmt]|ll|ve|re) at p, whose three bytes may be read, or 0.
inline unsigned contraction(const uint8_t* p, uint8_t fold) {
  const uint8_t a = p[1] | fold, b = p[2] | fold;
  if (a == 's' || a == 'd' || a == 'm' || a == 't') return 2;
  return (a == 'l' && b == 'l') || (a == 'v' && b == 'e') || (a == 'r' && b == 'e') ? 3 : 0;
}

constexpr uint8_t FOLD = 0x20;

// Bits below i, for i in [0, 63].
inline uint64_t below(unsigned i) { return (uint64_t{1} << i) - 1; }

// The bits of runs of `set` from the seeds on; every seed is in `set`.
inline uint64_t from_seeds(uint64_t set, uint64_t seeds) { return (set & ~(set + seeds)) | seeds; }

// Letters of two bytes, up to the first other character above ASCII at least. With `cased`, up to a
// letter that is neither lower nor upper case, too.
inline Letters two_byte_letters(const Window& window, const uint8_t* p, bool cased) {
  using namespace text;
  constexpr uint32_t LONG_S = 0x17F;  // a contraction may have it
  const uint64_t followed = window.range('\x80', 0x40) >> 1;
  const uint64_t d0 = window.is('\xD0') & followed, d1 = window.is('\xD1') & followed;

  // U+0400 to U+042F are upper case, U+0430 to U+045F lower, and from there on they alternate.
  Letters leads{d0 | (d1 & window.range('\x80', 0x20) >> 1), d0 & window.range('\x80', 0x30) >> 1};
  for (uint64_t more = window.range('\xC2', 0x1E) & followed & ~leads.all; more; more &= more - 1) {
    const int at = __builtin_ctzll(more);
    const uint32_t code = (p[at] & 0x1Fu) << 6 | (p[at + 1] & 0x3Fu);
    const uint8_t kind = class_of_code_point[code];
    if (kind < UPPER || code == LONG_S || (cased && kind == CASELESS)) break;
    const uint64_t lead = more & -more;
    leads.all |= lead;
    if (kind == UPPER) leads.upper |= lead;
  }
  return {leads.all | leads.all << 1, leads.upper | leads.upper << 1};
}

// Every third of a run of numbers.
inline uint64_t number_starts(uint64_t number) {
  uint64_t starts = number & ~(number << 1);
  const uint64_t fourth = number & number << 1 & number << 2 & number << 3;
  for (uint64_t next = starts; (next = next << 3 & fourth);) starts |= next;
  return starts;
}

// \s*[\r\n]|\s+(?!\S)|\s over runs of `white`: a piece up to the last newline of a run, one of
// what follows it but for the last character, and that character.
inline uint64_t white_starts(uint64_t white, uint64_t newline) {
  const uint64_t blank = white & ~newline;
  uint64_t after = (white & newline) << 1 & blank;
  uint64_t not_last = (blank + after) & ~blank & newline;
  for (; not_last; not_last &= not_last - 1) {  // rare: spaces in an empty line
    const uint64_t before = after & ((not_last & -not_last) - 1);
    if (before) after &= ~(uint64_t{1} << (63 - __builtin_clzll(before)));
  }
  return (white & ~(white << 1)) | after | (blank & ~(white >> 1));
}

struct Gpt2 {
  static constexpr bool CASED = false;
  static uint64_t starts(const Window& window, const Letters& letters, const uint8_t* p,
                         uint64_t white) {
    const uint64_t letter = letters.all, number = window.range('0', 10);
    const uint64_t other = ~(white | letter | number);
    const uint64_t runs =
        (letter & ~(letter << 1)) | (number & ~(number << 1)) | (other & ~(other << 1));
    const uint64_t words = runs & ~(window.is(' ') << 1);
    uint64_t starts = words | (white & ~(white << 1)) | (white & ~(white >> 1));
    for (uint64_t quotes = window.is('\'') & words & letter >> 1 & below(61); quotes;
         quotes &= quotes - 1) {
      const int at = __builtin_ctzll(quotes);
      const unsigned length = contraction(p + at, 0);
      if (length) starts = (starts & ~(uint64_t{2} << at)) | uint64_t{1} << (at + length);
    }
    return starts;
  }
};

struct Cl100k {
  static constexpr bool CASED = false;
  static uint64_t starts(const Window& window, const Letters& letters, const uint8_t* p,
                         uint64_t all_white) {
    const uint64_t letter = letters.all, number = window.range('0', 10);
    const uint64_t other = ~(all_white | letter | number);
    const uint64_t newline = window.is('\n') | window.is('\r');
    const uint64_t white = all_white & ~from_seeds(newline, newline & other << 1);
    const uint64_t others = other & ~(other << 1) & ~(window.is(' ') << 1);
    const uint64_t leads = (white & ~newline) | others;
    uint64_t starts = others | (letter & ~(letter << 1) & ~(leads << 1)) | number_starts(number) |
                      white_starts(white, newline);
    for (uint64_t quotes = window.is('\'') & others & letter >> 1 & below(61); quotes;
         quotes &= quotes - 1) {
      const int at = __builtin_ctzll(quotes);
      const unsigned length = contraction(p + at, FOLD);
      if (length) starts |= uint64_t{1} << (at + length);
    }
    return starts;
  }
};

struct O200k {
  static constexpr bool CASED = true;
  static uint64_t starts(const Window& window, const Letters& letters, const uint8_t* p,
                         uint64_t all_white) {
    const uint64_t letter = letters.all, upper = letters.upper;
    const uint64_t number = window.range('0', 10);
    const uint64_t newline = window.is('\n') | window.is('\r');
    const uint64_t any_other = ~(all_white | letter | number);
    const uint64_t tail = from_seeds(newline | window.is('/'), newline & any_other << 1);
    const uint64_t white = all_white & ~tail, other = any_other & ~tail;
    const uint64_t others = other & ~(other << 1) & ~(window.is(' ') << 1);
    const uint64_t leads = (white & ~newline) | others;
    const uint64_t camel = upper & (letter & ~upper) << 1;
    uint64_t starts = others | (letter & ~(letter << 1) & ~(leads << 1)) | camel |
                      number_starts(number) | white_starts(white, newline);

    // A contraction belongs to the word before it; behind one there is none.
    int behind = -1;
    for (uint64_t quotes = window.is('\'') & letter << 1 & letter >> 1 & below(61); quotes;
         quotes &= quotes - 1) {
      const int at = __builtin_ctzll(quotes);
      const unsigned length = at == behind ? 0 : contraction(p + at, FOLD);
      if (!length) continue;
      behind = at + static_cast<int>(length);
      starts = (starts & ~(below(length) << at)) | uint64_t{1} << behind;
    }
    return starts;
  }
};

// Writes base + i for every bit i of `mask`, and up to 15 elements more. Without a branch that
// depends on the text: how many bits a window has is hard to predict.
inline uint32_t* write_bits(uint64_t mask, uint32_t base, uint32_t* out) {
  uint32_t* const end = out + __builtin_popcountll(mask);
#ifdef __AVX512BW__
  const __m512i bits = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512i places = _mm512_add_epi32(bits, _mm512_set1_epi32(static_cast<int>(base)));
  for (int i = 0; i < 4; ++i, mask >>= 16) {
    const auto part = static_cast<__mmask16>(mask);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(part, places));
    places = _mm512_add_epi32(places, _mm512_set1_epi32(16));
    out += __builtin_popcount(part);
  }
#else
  __m256i first = _mm256_set1_epi32(static_cast<int>(base));
  for (int i = 0; i < 8; ++i, mask >>= 8) {
    const auto byte = static_cast<uint8_t>(mask);
    const auto* const bits = reinterpret_cast<const __m128i*>(BITS_OF.at[byte]);
    const __m256i places = _mm256_add_epi32(first, _mm256_cvtepu8_epi32(_mm_loadl_epi64(bits)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), places);
    first = _mm256_add_epi32(first, _mm256_set1_epi32(8));
    out += __builtin_popcount(byte);
  }
#endif
  return end;
}

template <class Rules>
inline SplitRun split(SplitRun run, const uint8_t* base, const uint8_t* end, uint32_t* full) {
  constexpr unsigned UNSURE = 4;  // bytes: a contraction, and one behind it
  run.scalar_until = run.at;
  while (static_cast<size_t>(end - run.at) >= SPLIT_WINDOW && run.ends < full) {
    const Window window(run.at);
    const uint64_t white = window.range('\t', 5) | window.is(' ');
    Letters letters = window.letters();
    unsigned known = SPLIT_WINDOW;  // bytes up to the first character that is not
    if (const uint64_t high = window.high()) {
      const Letters wide = two_byte_letters(window, run.at, Rules::CASED);
      letters = {letters.all | wide.all, letters.upper | wide.upper};
      if (const uint64_t rest = high & ~wide.all)
        known = static_cast<unsigned>(__builtin_ctzll(rest));
    }
    // The last byte may begin a letter that the next window has whole.
    const bool stopped = known < SPLIT_WINDOW - 1;

    // Certain are starts up to the run of white space that the window ends in, and UNSURE bytes
    // before its end.
    const uint64_t seen = known == SPLIT_WINDOW ? ~white : ~white & below(known);
    const unsigned last =
        seen && known >= UNSURE ? 64 - static_cast<unsigned>(__builtin_clzll(seen)) : 0;
    const unsigned sure = last < known - UNSURE ? last : known - UNSURE;
    uint64_t starts = 0;
    if (last)
      starts = Rules::starts(window, letters, run.at, white) & below(sure + 1) & ~uint64_t{1};

    run.ends = write_bits(starts, static_cast<uint32_t>(run.at - base), run.ends);
    const uint8_t* const end_of_known = run.at + known;
    if (starts) run.at += 63 - __builtin_clzll(starts);
    if (stopped || !starts) {
      run.scalar_until = stopped ? end_of_known : run.at;
      return run;
    }
  }
  return run;
}

}  // namespace

SplitRun split_gpt2(SplitRun run, const uint8_t* base, const uint8_t* end, uint32_t* full) {
  return split<Gpt2>(run, base, end, full);
}

SplitRun split_cl100k(SplitRun run, const uint8_t* base, const uint8_t* end, uint32_t* full) {
  return split<Cl100k>(run, base, end, full);
}

SplitRun split_o200k(SplitRun run, const uint8_t* base, const uint8_t* end, uint32_t* full) {
  return split<O200k>(run, base, end, full);
}

}  // namespace snakelm::SNAKELM_ISA
#endif
