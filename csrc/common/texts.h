// Texts as the core takes them: views of bytes that someone else owns, of Arrow's memory above all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace snakelm {

using Bytes = const uint8_t*;

struct View {
  Bytes data;
  size_t length;
};

// One Arrow string array: (address of the data, its bytes, address of the offsets, their width 4 or
// 8, first row, rows). The caller keeps the buffers alive.
using ArrowChunk = std::tuple<uintptr_t, uint64_t, uintptr_t, int, size_t, size_t>;

// Offsets are checked against the data, so that a damaged array cannot be read out of bounds, and
// read by copying, because a buffer cut out of a file may begin at any address.
template <class Offset>
void append_arrow(uintptr_t data, uint64_t size, uintptr_t offsets, size_t first, size_t rows,
                  std::vector<View>& views) {
  const auto* const bounds = reinterpret_cast<const char*>(offsets) + first * sizeof(Offset);
  const auto* const bytes = reinterpret_cast<Bytes>(data);
  for (size_t i = 0; i < rows; ++i) {
    Offset pair[2];
    std::memcpy(pair, bounds + i * sizeof(Offset), sizeof pair);
    const auto [from, to] = pair;
    if (from < 0 || to < from || static_cast<uint64_t>(to) > size) {
      throw std::invalid_argument("Arrow array: offsets of row " + std::to_string(i) +
                                  " lie outside its data");
    }
    views.push_back({bytes + from, static_cast<size_t>(to - from)});
  }
}

inline std::vector<View> arrow_views(const std::vector<ArrowChunk>& chunks) {
  std::vector<View> views;
  for (const auto& [data, size, offsets, width, first, rows] : chunks) {
    if (width == 4) {
      append_arrow<int32_t>(data, size, offsets, first, rows, views);
    } else if (width == 8) {
      append_arrow<int64_t>(data, size, offsets, first, rows, views);
    } else {
      throw std::invalid_argument("Arrow array: offsets of " + std::to_string(width) +
                                  " bytes, expected 4 or 8");
    }
  }
  return views;
}

// Bytes of a run of texts that one thread takes at once: long enough that taking it costs nothing,
// short enough that many threads end at about the same time.
constexpr size_t CHUNK_BYTES = size_t{1} << 18;

// Bounds [chunks + 1] of runs of texts of about CHUNK_BYTES each; a longer text is a chunk by
// itself.
inline std::vector<size_t> chunk_bounds(const std::vector<View>& texts) {
  std::vector<size_t> bounds{0};
  size_t filled = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    filled += texts[i].length;
    if (filled >= CHUNK_BYTES || i + 1 == texts.size()) bounds.push_back(i + 1), filled = 0;
  }
  return bounds;
}

}  // namespace snakelm
