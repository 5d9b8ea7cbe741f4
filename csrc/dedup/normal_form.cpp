// Expansion of the generated table.
#include "dedup/normal_form.h"

#include <iterator>

#include "dedup/normal_form_table.h"

namespace snakelm::dedup {
namespace {

Becomes table[TABLED];
Becomes sequences[std::size(MAPPINGS)];

const Becomes* expand() {
  for (size_t i = 0; i < std::size(KINDS); ++i) {
    const uint32_t last = i + 1 < std::size(KINDS) ? KINDS[i + 1] >> 11 : TABLED;
    const Becomes how = (KINDS[i] & 7) | (KINDS[i] >> 3 & 0xFF) << 24;
    for (uint32_t code = KINDS[i] >> 11; code < last; ++code) table[code] = how | code << 3;
  }

  for (uint32_t code = 0xAC00; code < 0xD7A4; ++code) table[code] = HANGUL | code << 3;

  // What a character becomes becomes nothing else, so its entry is already what it will be.
  uint32_t filled = 0;
  for (size_t i = 0; i < std::size(MAPPINGS);) {
    const uint32_t code = MAPPINGS[i] >> 5, length = MAPPINGS[i] & 31;
    ++i;
    if (length == 1) {
      table[code] = table[MAPPINGS[i]];
    } else {
      table[code] = SEQUENCE | filled << 3 | length << 24;
      for (uint32_t k = 0; k < length; ++k) sequences[filled++] = table[MAPPINGS[i + k]];
    }
    i += length;
  }
  return table;
}

}  // namespace

const Becomes* const BECOMES = expand();
const Becomes* const SEQUENCES = sequences;

}  // namespace snakelm::dedup
