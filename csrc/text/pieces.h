// Pieces of a text in blocks: by split_kernel.cpp where it is ASCII and letters of two bytes, by
// split.h's scanners elsewhere.
#pragma once

#include "common/isa.h"
#include "text/split.h"
#include "text/split_kernel.h"

namespace snakelm::text {

class PieceFinder {
 public:
  // The longest block, and the room its ends need.
  static constexpr size_t BLOCK = 1024, ROOM = BLOCK + SPLIT_WINDOW + 16;

  // `isa`: the most to use of what there is here.
  PieceFinder(Pattern pattern, Isa isa);
  Pattern pattern() const { return pattern_; }

  // Ends of pieces of text[0, length), as offsets from `text`, the first piece first: at least one,
  // at most ROOM. `text` is where a piece starts, length > 0. Throws std::length_error at a piece
  // of 4 GiB or more.
  size_t ends(Bytes text, size_t length, uint32_t* ends) const;

 private:
  using Kernel = decltype(&portable::split_gpt2);

  Pattern pattern_;
  Kernel kernel_;  // null where there is none
};

}  // namespace snakelm::text
