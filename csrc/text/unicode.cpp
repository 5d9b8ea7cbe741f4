// Expansion of the generated class runs.
#include "text/unicode.h"

#include <cstring>
#include <iterator>

#include "common/utf8.h"

namespace snakelm::text {
namespace {

constexpr uint32_t RUNS[] = {
#include "text/unicode_ranges.h"
};

uint8_t storage[CODE_POINTS];

const uint8_t* expand() {
  for (size_t i = 0; i < std::size(RUNS); ++i) {
    const uint32_t first = RUNS[i] >> 3;
    const uint32_t last = i + 1 < std::size(RUNS) ? RUNS[i + 1] >> 3 : CODE_POINTS;
    std::memset(storage + first, static_cast<int>(RUNS[i] & 7), last - first);
  }
  return storage;
}

}  // namespace

const uint8_t* const class_of_code_point = expand();

}  // namespace snakelm::text
