#include "dedup/shingles.h"

#include "common/parallel.h"

namespace snakelm::dedup {

Shingles shingles(const std::vector<View>& texts, size_t length, int threads) {
  const std::vector<size_t> bounds = chunk_bounds(texts);
  Shingles result;
  result.chunks.resize(bounds.size() - 1);
  result.counts.resize(texts.size());

  for_each_item(bounds.size() - 1, threads, [&](size_t chunk, size_t) {
    std::vector<uint64_t> ring;
    std::vector<uint64_t>& hashes = result.chunks[chunk];
    for (size_t i = bounds[chunk]; i < bounds[chunk + 1]; ++i) {
      const size_t before = hashes.size();
      each_shingle(texts[i], length, ring, [&](uint64_t hash) { hashes.push_back(hash); });
      result.counts[i] = static_cast<int64_t>(hashes.size() - before);
    }
  });
  return result;
}

}  // namespace snakelm::dedup
