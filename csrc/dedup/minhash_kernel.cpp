// The inner loop of MinHash, compiled once for each instruction set (common/isa.h).
//
//   out[i] = min(out[i], min over k of a[i] x[k] + b[i])      modulo 2^32
//
// PLACES of them at a time stay in registers while the block of shingles goes by; the compiler
// makes vectors of the fixed-length loops.
#include "dedup/minhash_kernel.h"

#include <cstring>

namespace snakelm::SNAKELM_ISA {
namespace {

constexpr size_t PLACES = 8;

inline uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

}  // namespace

void minhash_lower(const uint32_t* x, size_t count, const uint32_t* a, const uint32_t* b,
                   size_t places, uint32_t* out) {
  size_t i = 0;
  for (; i + PLACES <= places; i += PLACES) {
    uint32_t least[PLACES];
    std::memcpy(least, out + i, sizeof least);
    for (size_t k = 0; k < count; ++k) {
      for (size_t j = 0; j < PLACES; ++j) least[j] = smaller(a[i + j] * x[k] + b[i + j], least[j]);
    }
    std::memcpy(out + i, least, sizeof least);
  }

  for (; i < places; ++i) {
    for (size_t k = 0; k < count; ++k) out[i] = smaller(a[i] * x[k] + b[i], out[i]);
  }
}

}  // namespace snakelm::SNAKELM_ISA
