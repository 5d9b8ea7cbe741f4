// The inner loop of MinHash as the dispatcher sees it; it is in minhash_kernel.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/isa.h"

namespace snakelm {

// Lowers out [places] to the least of its permutation over the hashes x [count]; a, b: [places].
SNAKELM_DECLARE_KERNEL(void, minhash_lower,
                       (const uint32_t* x, size_t count, const uint32_t* a, const uint32_t* b,
                        size_t places, uint32_t* out))

}  // namespace snakelm
