// The inner loop of MinHash, compiled once for any processor and once with AVX2 (internal linkage, so both can be).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace {

// out[i] = min(out[i], min over k of a[i] x[k] + b[i]). Eight places at a time, for the compiler to make vectors of.
inline void lower(const uint32_t* x, size_t count, const uint32_t* a, const uint32_t* b, size_t places, uint32_t* out) {
    size_t i = 0;
    for (; i + 8 <= places; i += 8) {
        uint32_t least[8];
        std::copy(out + i, out + i + 8, least);
        for (size_t k = 0; k < count; ++k) {
            for (size_t j = 0; j < 8; ++j) least[j] = std::min(least[j], a[i + j] * x[k] + b[i + j]);
        }
        std::copy(least, least + 8, out + i);
    }
    for (; i < places; ++i) {
        for (size_t k = 0; k < count; ++k) out[i] = std::min(out[i], a[i] * x[k] + b[i]);
    }
}

}  // namespace
