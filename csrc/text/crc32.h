// CRC-32 as zlib's crc32() has it (ISO-HDLC: polynomial 0x04C11DB7, bits reflected), for token
// files, whose every byte is checked when it is written and each time it is read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace snakelm::text {

// Of `length` bytes behind others whose CRC is `crc`; 0 for none. `folding` false: by tables alone.
uint32_t crc32(const uint8_t* p, size_t length, uint32_t crc, bool folding = true);

}  // namespace snakelm::text
