// Words as keys of the cache, and which bucket each belongs to; hashing many at once is in
// word_kernel.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "common/isa.h"

namespace snakelm {

// A word of up to 15 bytes: its bytes, zeros, and its length in the last byte.
struct alignas(16) WordKey {
  uint64_t low, high;

  bool operator==(const WordKey& other) const {
#ifdef __SSE2__
    const auto* const a = reinterpret_cast<const __m128i*>(this);
    const auto* const b = reinterpret_cast<const __m128i*>(&other);
    return _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_load_si128(a), _mm_load_si128(b))) == 0xFFFF;
#else
    return ((low ^ other.low) | (high ^ other.high)) == 0;
#endif
  }
};

constexpr size_t BUCKET_BYTES = 64;  // a cache line

// Multiply-shift: the upper bits of a sum of products with secret odd factors. Whichever two words
// someone chooses, their buckets are equal for at most two in as many factors as there are buckets
// (Dietzfelbinger et al. 1997). A sum of low halves suits vectors, both halves of a product don't.
struct WordHash {
  uint64_t factor_0, factor_1;
  uint32_t shift;   // 64 less the bits of a bucket's number
  uint64_t number;  // mask of that number

  uint32_t place(const WordKey& key) const {
    const uint64_t sum = key.low * factor_0 + key.high * factor_1;
    return static_cast<uint32_t>((sum >> shift & number) * BUCKET_BYTES);
  }
};

// Keys are hashed in blocks of so many: arrays are a multiple of it long.
constexpr size_t HASH_BLOCK = 8;

// places[i]: where the bucket of keys[i] is in the table, in bytes, for i in [0, count) and up to
// the end of the block.
SNAKELM_DECLARE_KERNEL(void, word_places,
                       (const WordKey* keys, size_t count, const WordHash& hash, uint32_t* places))

}  // namespace snakelm
