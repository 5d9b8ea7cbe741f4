// Hashes of words, eight at a time: it takes products of 64 bits in vectors (AVX-512). Elsewhere
// there is no kernel, and each word is hashed as its key is made.
#ifdef __AVX512DQ__
#include <immintrin.h>

#include "text/word_kernel.h"

namespace snakelm::SNAKELM_ISA {

void word_places(const WordKey* keys, size_t count, const WordHash& hash, uint32_t* places) {
  const auto low = static_cast<long long>(hash.factor_0);
  const auto high = static_cast<long long>(hash.factor_1);
  const __m512i factors = _mm512_setr_epi64(low, high, low, high, low, high, low, high);
  const __m512i number = _mm512_set1_epi64(static_cast<long long>(hash.number));
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);  // undoes that of unpacking
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(hash.shift));

  for (size_t i = 0; i < count; i += HASH_BLOCK) {
    const __m512i first = _mm512_mullo_epi64(_mm512_loadu_si512(keys + i), factors);
    const __m512i second = _mm512_mullo_epi64(_mm512_loadu_si512(keys + i + 4), factors);
    const __m512i sums = _mm512_add_epi64(_mm512_unpacklo_epi64(first, second),
                                          _mm512_unpackhi_epi64(first, second));
    const __m512i numbers = _mm512_and_si512(_mm512_srl_epi64(sums, shift), number);
    const __m512i bytes = _mm512_slli_epi64(_mm512_permutexvar_epi64(order, numbers), 6);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(places + i), _mm512_cvtepi64_epi32(bytes));
  }
  static_assert(BUCKET_BYTES == 1 << 6 && HASH_BLOCK == 8);
}

}  // namespace snakelm::SNAKELM_ISA
#endif
