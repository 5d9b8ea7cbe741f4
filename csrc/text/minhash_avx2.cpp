#include "minhash_lower.h"

namespace snakelm::text {

void lower_avx2(const uint32_t* x, size_t count, const uint32_t* a, const uint32_t* b, size_t places, uint32_t* out) {
    lower(x, count, a, b, places, out);
}

}  // namespace snakelm::text
