#include "dedup/minhash.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

#include "common/parallel.h"
#include "dedup/minhash_kernel.h"

namespace snakelm::dedup {
namespace {

SNAKELM_KERNEL_TABLE(LOWER, minhash_lower);

// [2, permutations]: odd multipliers, then offsets. From a fixed seed, so that which texts are
// alike does not change from run to run.
std::vector<uint32_t> permutation_numbers(size_t permutations) {
  std::vector<uint32_t> numbers(2 * permutations);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const uint64_t random = mixed((i + 1) * 0x9E3779B97F4A7C15ull);
    numbers[i] = static_cast<uint32_t>(random >> 32) | (i < permutations ? 1 : 0);
  }
  return numbers;
}

bool alike(const uint16_t* a, const uint16_t* b, size_t permutations, size_t min_equal) {
  uint16_t equal = 0;  // as wide as what is compared, so that a vector counts as it compares
  for (size_t i = 0; i < permutations; ++i) equal = static_cast<uint16_t>(equal + (a[i] == b[i]));
  return equal >= min_equal;
}

}  // namespace

void signatures(const std::vector<View>& texts, size_t length, size_t permutations, int threads,
                uint32_t* out) {
  const auto lower = linked_at_most(LOWER, best_isa());
  const std::vector<uint32_t> numbers = permutation_numbers(permutations);
  const uint32_t *a = numbers.data(), *b = a + permutations;

  const std::vector<size_t> bounds = chunk_bounds(texts);
  for_each_item(bounds.size() - 1, threads, [&](size_t chunk, size_t) {
    std::vector<uint64_t> ring;
    uint32_t block[256];  // shingles taken at once: the least of them stays in a register
    for (size_t i = bounds[chunk]; i < bounds[chunk + 1]; ++i) {
      uint32_t* const signature = out + i * permutations;
      std::fill(signature, signature + permutations, 0xFFFFFFFFu);

      size_t filled = 0;
      each_shingle(texts[i], length, ring, [&](uint64_t hash) {
        block[filled++] = static_cast<uint32_t>(hash);
        if (filled < std::size(block)) return;
        lower(block, filled, a, b, permutations, signature);
        filled = 0;
      });
      lower(block, filled, a, b, permutations, signature);
    }
  });
}

// A link may lead to a document that was dropped; that one's own link was shortened when it was
// decided on, so the nearest document that stays is never further than two links away. state[i] is
// DROPPED, or the last document that i was compared with plus one, so that a pair that shares
// several buckets is compared once.
size_t drop_near_duplicates(const Candidates& all, size_t first, size_t last, size_t min_equal,
                            size_t bucket_limit) {
  const auto wrong = [](size_t document) {
    throw std::invalid_argument("near duplicates: document " + std::to_string(document) +
                                " has no signature, or leads to none before it");
  };
  const auto signature = [&](size_t document) {
    if (all.rows[document] >= all.signature_rows) wrong(document);
    return all.signatures + size_t{all.rows[document]} * all.permutations;
  };

  size_t dropped = 0;
  for (size_t j = first; j < last; ++j) {
    for (size_t band = 0; band < all.bands; ++band) {
      uint32_t* const links = all.links + band * all.documents;
      const auto link_of = [&](uint32_t from) {
        const uint32_t link = links[from];
        if (link != NO_LINK && link >= from) wrong(from);
        return link;
      };
      const auto next_staying = [&](uint32_t from) {
        const uint32_t link = link_of(from);
        if (link == NO_LINK || all.state[link] != DROPPED) return link;
        return links[from] = link_of(link);
      };

      uint32_t other = next_staying(static_cast<uint32_t>(j));
      if (all.state[j] == DROPPED) continue;  // it only needed its links shortened

      for (size_t seen = 0; other != NO_LINK && seen < bucket_limit;
           ++seen, other = next_staying(other)) {
        if (all.state[other] == j + 1) continue;
        all.state[other] = static_cast<uint32_t>(j + 1);
        if (!alike(signature(j), signature(other), all.permutations, min_equal)) continue;
        all.state[j] = DROPPED, ++dropped;
        break;
      }
    }
  }
  return dropped;
}

}  // namespace snakelm::dedup
