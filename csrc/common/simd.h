// Vectors of LANES floats, written once for every instruction set.
//
// GCC's and clang's vector types give arithmetic, comparison and selection for any width, so only
// what they lack is spelt with intrinsics. For kernels only (common/isa.h): every name lives in the
// namespace of the instruction set that the file is compiled for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#ifndef SNAKELM_ISA
#error "simd.h is for kernels: setup.py compiles them with -DSNAKELM_ISA=<set>, see common/isa.h"
#endif

#define SNAKELM_INLINE inline __attribute__((always_inline))

namespace snakelm::SNAKELM_ISA {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;  // SSE2 and NEON: the least that every x86-64 and every ARMv8 has
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t IntVec __attribute__((vector_size(LANES * 4)));
typedef uint32_t WordVec __attribute__((vector_size(LANES * 4)));

struct BFloat16 {
  uint16_t bits;
};

SNAKELM_INLINE Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
SNAKELM_INLINE void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }
SNAKELM_INLINE Vec splat(float x) {
  return x - Vec{};
}  // `x - 0` keeps -0; the compiler makes it one broadcast
SNAKELM_INLINE IntVec splat_int(int32_t x) { return x - IntVec{}; }

// b where one of them is NaN.
SNAKELM_INLINE Vec maximum(Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

// a * b + c, in one rounding where the CPU has it.
SNAKELM_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// 1 / x for a finite x of ordinary size, within two units in the last place: a division takes as
// long as all the rest of a pointwise kernel.
SNAKELM_INLINE Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
  const Vec near = (Vec)_mm512_rcp14_ps((__m512)x);
  return multiply_add(near, multiply_add(splat(0.0f) - x, near, splat(1.0f)), near);
#else
  return splat(1.0f) / x;
#endif
}

// Two-source permutation with a constant index: GCC before 12 lacks __builtin_shufflevector, clang
// __builtin_shuffle.
template <class V, size_t... I>
SNAKELM_INLINE V shuffle(V a, V b, std::index_sequence<I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, I...);
#else
  return __builtin_shuffle(a, b, IntVec{static_cast<int32_t>(I)...});
#endif
}

template <int STEP, size_t... I>
SNAKELM_INLINE Vec rotate(Vec v, std::index_sequence<I...>) {
  return shuffle(v, v, std::index_sequence<(I + STEP) % LANES...>{});
}

template <int STEP = LANES / 2>
SNAKELM_INLINE float reduce_maximum(Vec v) {
  if constexpr (STEP == 0) {
    return v[0];
  } else {
    return reduce_maximum<STEP / 2>(maximum(v, rotate<STEP>(v, std::make_index_sequence<LANES>{})));
  }
}

template <int STEP = LANES / 2>
SNAKELM_INLINE float reduce_sum(Vec v) {
  if constexpr (STEP == 0) {
    return v[0];
  } else {
    return reduce_sum<STEP / 2>(v + rotate<STEP>(v, std::make_index_sequence<LANES>{}));
  }
}

// 2^x for x <= 127, 0 below -126, NaN for NaN; relative error 2e-7 (DEGREE 5), 3e-6 (4): the latter
// is far below bf16's 4e-3. Minimax coefficients of 2^f on [-1/2, 1/2], fitted for relative error
// with the constant term held at 1.
template <int DEGREE>
SNAKELM_INLINE Vec exp2(Vec x) {
  constexpr float MAGIC =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low mantissa bits
  const Vec bounded = maximum(splat(-200.0f), x);  // in this order NaN stays NaN
  const Vec shifted = bounded + splat(MAGIC);
  const Vec f = bounded - (shifted - splat(MAGIC));
  Vec p;
  if constexpr (DEGREE >= 5) {
    p = multiply_add(splat(1.326472721e-3f), f, splat(9.671512813e-3f));
    p = multiply_add(p, f, splat(5.550733745e-2f));
    p = multiply_add(p, f, splat(2.402224208e-1f));
    p = multiply_add(p, f, splat(6.931469776e-1f));
  } else {
    p = multiply_add(splat(9.582853220e-3f), f, splat(5.590642621e-2f));
    p = multiply_add(p, f, splat(2.402409862e-1f));
    p = multiply_add(p, f, splat(6.931241932e-1f));
  }
  p = multiply_add(p, f, splat(1.0f));
#if defined(__AVX512F__)
  return (Vec)_mm512_scalef_ps((__m512)p, (__m512)(shifted - splat(MAGIC)));
#else
  const WordVec raised = (WordVec)p + ((WordVec)shifted << 23);
  return (Vec)((IntVec)raised & ~(x <= splat(-126.0f)));
#endif
}

template <class T>
SNAKELM_INLINE bool any_negative(T v) {  // is some lane's top bit set?
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)v) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)v) != 0;
#else
  const WordVec words = (WordVec)v;
  uint32_t all = 0;
  for (int i = 0; i < LANES; ++i) all |= words[i];
  return all >> 31;
#endif
}

SNAKELM_INLINE float to_float(float x) { return x; }
SNAKELM_INLINE float to_float(BFloat16 x) {
  const uint32_t word = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &word, sizeof f);
  return f;
}

SNAKELM_INLINE void from_float(float x, float* to) { *to = x; }
SNAKELM_INLINE void from_float(float x, BFloat16* to) {  // to nearest, ties to even; NaN stays NaN
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  const uint32_t rounded = (word + 0x7FFF + ((word >> 16) & 1)) >> 16;
  to->bits = static_cast<uint16_t>((word & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : rounded);
}

// LANES values of a tensor to and from floats.
typedef uint16_t HalfVec __attribute__((vector_size(LANES * 2)));
SNAKELM_INLINE Vec load_wide(const float* from) { return load(from); }
SNAKELM_INLINE Vec load_wide(const BFloat16* from) {
  HalfVec half;
  std::memcpy(&half, from, sizeof half);
#if defined(__AVX512F__)  // GCC's own conversion takes the vector apart and together again
  return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#elif defined(__AVX2__)
  return (Vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16);
#else
  return (Vec)(__builtin_convertvector(half, WordVec) << 16);
#endif
}
SNAKELM_INLINE void store_narrow(Vec v, float* to) { store(to, v); }
SNAKELM_INLINE void store_narrow(Vec v, BFloat16* to) {
#if defined(__AVX512BF16__)
  const __m256i half = (__m256i)_mm512_cvtneps_pbh((__m512)v);
#else
  const WordVec word = (WordVec)v;
  const WordVec nearest = (word + 0x7FFF + ((word >> 16) & 1)) >> 16;
  const WordVec rounded = (WordVec)(v == v ? (IntVec)nearest : splat_int(0x7FC0));
#if defined(__AVX512F__) || !defined(__AVX2__)
  const HalfVec half = __builtin_convertvector(rounded, HalfVec);
#else  // GCC converts by a dozen shuffles here
  const __m256i packed = _mm256_packus_epi32((__m256i)rounded, (__m256i)rounded);
  const __m128i half = _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#endif
#endif
  std::memcpy(to, &half, sizeof half);
}
// The first `count` < LANES of them; the rest are zeros.
template <class T>
SNAKELM_INLINE Vec load_wide_part(const T* from, int count) {
  Vec v{};
  for (int i = 0; i < count; ++i) v[i] = to_float(from[i]);
  return v;
}

// Lanes a0 b0 a1 b1 ...: `low` the first LANES of them, `high` the rest.
template <size_t... I>
SNAKELM_INLINE void interleave(WordVec a, WordVec b, uint32_t* to, std::index_sequence<I...>) {
  const WordVec low = shuffle(a, b, std::index_sequence<(I / 2 + (I % 2) * LANES)...>{});
  const WordVec high =
      shuffle(a, b, std::index_sequence<(LANES / 2 + I / 2 + (I % 2) * LANES)...>{});
  std::memcpy(to, &low, sizeof low);
  std::memcpy(to + LANES, &high, sizeof high);
}

#if defined(__AVX512BF16__)
// Lane i becomes the pair (low[i], high[i]) of bfloat16, low in the low half.
SNAKELM_INLINE WordVec pair_of(Vec low, Vec high) {
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (WordVec)_mm512_permutexvar_epi16(order, both);
}
// 16 floats to 16 consecutive bfloat16.
SNAKELM_INLINE void store_bfloat16(uint32_t* to, Vec v) {
  const __m256i narrow = (__m256i)_mm512_cvtneps_pbh((__m512)v);
  std::memcpy(to, &narrow, sizeof narrow);
}
#endif

}  // namespace snakelm::SNAKELM_ISA
