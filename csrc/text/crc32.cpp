// Carry-less products where the CPU has them (V. Gopal and others, "Fast CRC Computation for
// Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009), else eight tables at a time (M.
// Kounavis and F. Berry, "A Systematic Approach to Building High Performance Software-based CRC
// Generators", 2005).
//
// A reflected CRC reads a byte's lowest bit as its highest power of x: the number 1 is 1 << 31, and
// times x is a shift to the right.
#include "text/crc32.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace snakelm::text {
namespace {

constexpr uint32_t POLYNOMIAL = 0xEDB88320;  // reflected

constexpr uint32_t times_x(uint32_t value) { return value >> 1 ^ (value & 1 ? POLYNOMIAL : 0); }

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b]: the CRC of byte b and k zeros behind it.
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = times_x(value);
    tables[0][byte] = value;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t value = tables[k - 1][byte];
      tables[k][byte] = value >> 8 ^ tables[0][value & 0xFF];
    }
  }
  return tables;
}

constexpr Tables TABLES = make_tables();

// Here and below `state` is the CRC's complement, as it stands between bytes.
uint32_t by_tables(const uint8_t* p, size_t length, uint32_t state) {
  for (; length >= 8; p += 8, length -= 8) {
    uint32_t next = state;
    for (int i = 0; i < 4; ++i) next ^= static_cast<uint32_t>(p[i]) << 8 * i;
    state = 0;
    for (int i = 0; i < 4; ++i) {
      state ^= TABLES[7 - i][next >> 8 * i & 0xFF];
      state ^= TABLES[3 - i][p[4 + i]];
    }
  }
  for (; length; ++p, --length) state = state >> 8 ^ TABLES[0][(state ^ *p) & 0xFF];
  return state;
}

#if defined(__x86_64__)

// x^power modulo the polynomial, one place higher: the product of two reflected numbers of 64 bits
// comes out one place too low.
constexpr long long folded(int power) {
  uint32_t value = 1u << 31;
  for (int i = 0; i < power; ++i) value = times_x(value);
  return static_cast<long long>(value) << 1;
}

constexpr size_t LANES = 4, LANE = sizeof(__m128i), BLOCK = LANES * LANE;

// `lane` moved on by as many bits as `factors` are made for, and what lies there added.
__attribute__((target("pclmul,sse4.1"))) inline __m128i fold(__m128i lane, __m128i factors,
                                                             __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(lane, factors, 0x00);
  const __m128i high = _mm_clmulepi64_si128(lane, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

inline __m128i lane_at(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// `length`, a multiple of 16 and at least 64.
__attribute__((target("pclmul,sse4.1"))) uint32_t by_products(const uint8_t* p, size_t length,
                                                              uint32_t state) {
  // For the lower half of a lane, whose bits are the higher powers, and for the upper.
  const __m128i by_block = _mm_set_epi64x(folded(8 * BLOCK - 32), folded(8 * BLOCK + 32));
  const __m128i by_lane = _mm_set_epi64x(folded(8 * LANE - 32), folded(8 * LANE + 32));

  __m128i lanes[LANES];
  for (size_t i = 0; i < LANES; ++i) lanes[i] = lane_at(p + LANE * i);
  lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128(static_cast<int>(state)));
  p += BLOCK, length -= BLOCK;

  for (; length >= BLOCK; p += BLOCK, length -= BLOCK) {
    for (size_t i = 0; i < LANES; ++i) lanes[i] = fold(lanes[i], by_block, lane_at(p + LANE * i));
  }

  __m128i lane = lanes[0];
  for (size_t i = 1; i < LANES; ++i) lane = fold(lane, by_lane, lanes[i]);
  for (; length; p += LANE, length -= LANE) lane = fold(lane, by_lane, lane_at(p));

  // 16 bytes with the same CRC as all that was folded into them.
  uint8_t rest[LANE];
  std::memcpy(rest, &lane, LANE);
  return by_tables(rest, LANE, 0);
}

#endif

}  // namespace

uint32_t crc32(const uint8_t* p, size_t length, uint32_t crc, bool folding) {
  uint32_t state = ~crc;
#if defined(__x86_64__)
  static const bool has_products =
      __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  if (folding && has_products && length >= BLOCK) {
    const size_t whole = length & ~(LANE - 1);
    state = by_products(p, whole, state);
    p += whole, length -= whole;
  }
#else
  (void)folding;
#endif
  return ~by_tables(p, length, state);
}

}  // namespace snakelm::text
