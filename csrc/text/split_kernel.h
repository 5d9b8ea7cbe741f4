// Ends of pieces by 64 bytes at a time, as find_ends (pieces.h) sees it; it is in split_kernel.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/isa.h"

namespace snakelm {

// The bytes a kernel looks at together. It reads no further than `end`, so it stops short of the
// last ones.
constexpr size_t SPLIT_WINDOW = 64;

struct SplitRun {
  const uint8_t* at;            // a piece starts here; everything before it is split
  const uint8_t* scalar_until;  // the kernel cannot say where the pieces up to here end
  uint32_t* ends;               // where the next end is to be written
};

// Writes ends of pieces, as offsets from `base`, beginning with the piece at run.at, until it comes
// to what only a scanner can split or to the last SPLIT_WINDOW bytes, or ends reach `full`. Up to
// SPLIT_WINDOW + 16 elements behind `full` are overwritten.
SNAKELM_DECLARE_KERNEL(SplitRun, split_gpt2,
                       (SplitRun run, const uint8_t* base, const uint8_t* end, uint32_t* full))
SNAKELM_DECLARE_KERNEL(SplitRun, split_cl100k,
                       (SplitRun run, const uint8_t* base, const uint8_t* end, uint32_t* full))
SNAKELM_DECLARE_KERNEL(SplitRun, split_o200k,
                       (SplitRun run, const uint8_t* base, const uint8_t* end, uint32_t* full))

}  // namespace snakelm
