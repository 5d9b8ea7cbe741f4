// The hash of the tokenizer's tables, whose keys come from texts and files of unknown origin.
//
// Decision: seeded anew in each process. With known constants whoever writes a text can choose
// words that all have one hash, and a table of them takes quadratic time. Both factors of every
// product carry a secret, so none can be made 0. Nothing may depend on the order of a table, or
// results would differ from run to run: entries are numbered as they come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace snakelm::text {

extern const uint64_t SECRET_0, SECRET_1;

// A table that is kept in a file has seeds of its own, which whoever writes texts doesn't know.
struct Seeds {
  uint64_t first = SECRET_0, second = SECRET_1;
};

inline uint64_t load(const uint8_t* p, size_t n) {
  uint64_t value = 0;
  std::memcpy(&value, p, n);
  return value;
}

// Both halves of a 64 x 64 bit product, folded: every input bit reaches every output bit.
inline uint64_t mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_number(uint64_t number, const Seeds& seeds = {}) {
  return mix(number ^ seeds.first, seeds.second);
}

inline uint64_t hash_bytes(const uint8_t* p, size_t length, const Seeds& seeds = {}) {
  const uint64_t s0 = seeds.first, s1 = seeds.second;
  uint64_t state = length * 0x9E3779B97F4A7C15 ^ s0;
  size_t left = length;
  for (; left > 16; left -= 16, p += 16) state = mix(load(p, 8) ^ state, load(p + 8, 8) ^ s1);

  // The last 1..16 bytes as two words that may overlap; together with the length they determine the
  // key.
  uint64_t a = 0, b = 0;
  if (left >= 8) {
    a = load(p, 8), b = load(p + left - 8, 8);
  } else if (left >= 4) {
    a = load(p, 4), b = load(p + left - 4, 4);
  } else if (left > 0) {
    a = static_cast<uint64_t>(p[0]) << 16 | static_cast<uint64_t>(p[left / 2]) << 8 | p[left - 1];
  }
  return mix(a ^ state, b ^ s1);
}

}  // namespace snakelm::text
