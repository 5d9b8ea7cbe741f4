// Keys of words: the 16 bytes at each word's start, masked by its length.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/texts.h"
#include "text/word_kernel.h"

namespace snakelm::text {

constexpr size_t LONGEST_WORD = 15;

// What stays of 16 loaded bytes for a word of a length, and that length; a longer word gets a key
// that no entry has.
struct KeyMask {
  WordKey keep, length;
};
constexpr auto KEY_MASKS = [] {
  struct {
    KeyMask of[LONGEST_WORD + 2];
  } masks{};
  for (uint64_t n = 0; n <= LONGEST_WORD; ++n) {
    masks.of[n].keep.low = n < 8 ? (uint64_t{1} << 8 * n) - 1 : ~uint64_t{0};
    masks.of[n].keep.high = n < 8 ? 0 : (uint64_t{1} << 8 * (n - 8)) - 1;
    masks.of[n].length = {0, n << 56};
  }
  masks.of[LONGEST_WORD + 1].length = {0, uint64_t{0xFF} << 56};
  return masks;
}();

// The key of a word at p, where sizeof(WordKey) bytes may be read.
inline WordKey word_key(Bytes p, size_t length) {
  const KeyMask& mask = KEY_MASKS.of[std::min(length, LONGEST_WORD + 1)];
#ifdef __SSE2__
  // Both halves at once: GCC makes two loads and two stores of what is below.
  const auto* const keep = reinterpret_cast<const __m128i*>(&mask.keep);
  const auto* const counted = reinterpret_cast<const __m128i*>(&mask.length);
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i masked =
      _mm_or_si128(_mm_and_si128(bytes, _mm_load_si128(keep)), _mm_load_si128(counted));
  WordKey key;
  _mm_store_si128(reinterpret_cast<__m128i*>(&key), masked);
  return key;
#else
  uint64_t halves[2];
  std::memcpy(halves, p, sizeof halves);
  if constexpr (std::endian::native == std::endian::big) {
    for (uint64_t& half : halves) half = __builtin_bswap64(half);
  }
  return {(halves[0] & mask.keep.low) | mask.length.low,
          (halves[1] & mask.keep.high) | mask.length.high};
#endif
}

// Calls each(i, key) for the words [start, ends[0]), [ends[0], ends[1]), … of `text`, which reaches
// to `end`.
template <class Each>
inline void word_keys(Bytes text, Bytes end, uint32_t start, const uint32_t* ends, size_t words,
                      const Each& each) {
  constexpr size_t SIZE = sizeof(WordKey);
  const auto left = static_cast<size_t>(end - text);
  if (ends[words - 1] + SIZE <= left) [[likely]] {
    for (size_t i = 0; i < words; start = ends[i++])
      each(i, word_key(text + start, ends[i] - start));
    return;
  }

  // Words that begin in the last bytes are read from a copy with zeros behind it.
  uint8_t last[2 * SIZE] = {};
  const size_t copied = std::min(left, SIZE);
  std::memcpy(last + SIZE - copied, end - copied, copied);
  for (size_t i = 0; i < words; start = ends[i++]) {
    const size_t from = left - start;
    each(i, word_key(from >= SIZE ? text + start : last + SIZE - from, ends[i] - start));
  }
}

}  // namespace snakelm::text
